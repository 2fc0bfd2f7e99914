"""Finetuning of the small ViT on Weizmann: minutes on two CPU cores.

    python -m mgm_jax.main --config=configs/weizmann_finetune.py \
        --config.init_from=runs/weizmann_pretrain --config.data.path=weizmann.csv \
        --config.data.root=VIDEOS --workdir=runs/weizmann_finetune

Without `config.init_from` it trains from scratch.

Data: as configs/weizmann_pretrain.py.
"""

from ml_collections import ConfigDict

from configs import common, weizmann_pretrain


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the recipe, changed as `common.ARGUMENTS` allows."""
    config = common.finetune()
    config.batch_size = 16
    config.num_steps = 2500
    config.warmup_steps = 100

    config.data.source = "csv"
    common.take_shapes(config, weizmann_pretrain.get_config())
    config.data.flip = True
    config.data.area = (0.3, 1.0)
    config.data.repeated_augmentation = 1

    config.augment.rand_augment_layers = 0
    config.augment.erasing = 0.0
    config.augment.mixup = 0.0
    config.augment.cutmix = 1.0
    config.augment.mix_probability = 0.5

    config.model.drop_path = 0.1

    config.optimizer.base_lr = 2.4e-2
    config.optimizer.min_lr = 1e-4

    config.checkpoint_every = 500
    config.eval.split = "test"
    config.eval.every = 500
    config.eval.subset = 0
    config.eval.temporal_views = 2
    return common.with_argument(config, argument)
