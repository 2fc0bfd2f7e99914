"""Finetuning of the demo model on the demo set's 12 motions, on two CPU cores.

    python -m mgm_jax.main --config=configs/demo_finetune.py \
        --config.init_from=runs/demo --config.data.path=runs/demo_data --workdir=runs/demo_finetune

The commands in `configs/demo_pretrain.py` make `runs/demo_data` and `runs/demo`. Without
`config.init_from` it trains from scratch.

With 50 labels a class, from the pretraining that pays (seven minutes on one core; what it reaches:
docs/results.md):

    python -m mgm_jax.main --config=configs/demo_finetune.py --config.data.split='train[:600]' \
        --config.init_from=runs/demo_normalised --config.data.path=runs/demo_data \
        --config.data.size=32 --workdir=runs/demo_few_labels

Partial domain adaptation in miniature (Table 3 is the real one): finetuned on coloured clips of 12
classes, evaluated on grey negatives of 6 of these classes; it is trained on no such clip.

    python -m data_prep.demo --domain_shift --num_train=600 --out=runs/adaptation_data
    python -m mgm_jax.main --config=configs/demo_finetune.py \
        --config.init_from=runs/demo_normalised --config.data.path=runs/adaptation_data \
        --config.data.size=32 --workdir=runs/adaptation
"""

from ml_collections import ConfigDict

from mgm_jax import base_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe."""
    config = base_config.finetune()
    config.batch_size = 32
    config.num_steps = 2400
    config.warmup_steps = 120

    config.data.repeated_augmentation = 1
    config.data.area = (0.7, 1.0)

    config.augment.rand_augment_layers = 0
    config.augment.mixup = 0.0
    config.augment.cutmix = 0.0
    config.augment.erasing = 0.0
    config.augment.mix_group_size = 32

    base_config.demo_vit(config)
    config.model.drop_path = 0.0
    # VideoMAE's 0.001, and smoothed labels, keep a small model at chance for thousands of steps.
    config.model.head_init_scale = 1.0
    config.augment.label_smoothing = 0.0

    config.optimizer.base_lr = 2.4e-3
    config.optimizer.min_lr = 2.4e-5
    config.optimizer.layer_decay = 1.0

    config.checkpoint_every = 300
    config.eval.every = 300
    config.eval.subset = 252
    config.eval.temporal_views = 1
    config.eval.spatial_views = 1
    base_config.apply_arg(config, arg)
    return config
