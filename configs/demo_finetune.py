"""Finetuning of the demo model on the demo set's classes: minutes on two CPU cores.

    python -m mgm_jax.main --config=configs/demo_finetune.py \
        --config.init_from=runs/demo --config.data.path=runs/demo_data --workdir=runs/demo_finetune

`configs/demo_pretrain.py` makes `runs/demo_data` and `runs/demo`. Without `config.init_from` it
trains from scratch.
"""

from ml_collections import ConfigDict

from configs import common, demo_pretrain


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the recipe, changed as `common.ARGUMENTS` allows."""
    config = common.finetune()
    config.batch_size = 8
    config.num_steps = 600
    config.warmup_steps = 50

    common.take_shapes(config, demo_pretrain.get_config())
    config.data.repeated_augmentation = 1
    config.data.area = (0.4, 1.0)

    config.augment.rand_augment_layers = 0
    config.augment.mixup = 0.0
    config.augment.cutmix = 0.0
    config.augment.erasing = 0.0
    config.augment.mix_group_size = 8

    config.model.drop_path = 0.0

    config.optimizer.base_lr = 3e-2
    config.optimizer.min_lr = 1e-4

    config.log_every = 25
    config.checkpoint_every = 150
    config.eval.every = 150
    config.eval.subset = 200
    config.eval.temporal_views = 1
    config.eval.spatial_views = 1
    return common.with_argument(config, argument)
