"""Finetuning of the small ViT of configs/small_pretrain.py: minutes on two CPU cores.

    python -m mgm_jax.main --config=configs/small_finetune.py \
        --config.init_from=runs/my_pretrain --config.data.path=VIDEOS \
        --workdir=runs/my_finetune

Without `config.init_from` it trains from scratch. Argument: `backbone`. Data, and the flags for
J-HMDB: as in configs/small_pretrain.py.
"""

from ml_collections import ConfigDict

from mgm_jax import base_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe."""
    config = base_config.finetune()
    base_config.small_vit(config)
    config.batch_size = 16
    config.num_steps = 1500
    config.warmup_steps = 150

    config.data.source = "folder"
    config.data.flip = True
    config.data.area = (0.3, 1.0)
    config.data.repeated_augmentation = 1

    config.augment.rand_augment_layers = 0
    config.augment.erasing = 0.0
    config.augment.mixup = 0.0
    config.augment.cutmix = 1.0
    config.augment.mix_probability = 0.5
    config.augment.mix_group_size = 2

    config.model.drop_path = 0.1

    config.optimizer.base_lr = 2.4e-2
    config.optimizer.min_lr = 1e-4

    config.checkpoint_every = 500
    config.eval.holdout = 0.2
    config.eval.split = "test"
    config.eval.every = 250
    config.eval.subset = 0
    config.eval.temporal_views = 3
    config.eval.spatial_views = 1  # People are in the middle.
    base_config.apply_arg(config, arg, backbone="model.backbone")
    return config
