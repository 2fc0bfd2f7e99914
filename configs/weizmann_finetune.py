"""Finetuning of the small ViT on Weizmann: minutes on two CPU cores.

    python -m mgm_jax.main --config=configs/weizmann_finetune.py \
        --config.init_from=runs/weizmann_pretrain --config.data.path=runs/weizmann \
        --workdir=runs/weizmann_finetune

Without `config.init_from` it trains from scratch.

Data: as configs/weizmann_pretrain.py.
"""

from ml_collections import ConfigDict

from configs import common, jhmdb_finetune, weizmann_pretrain


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the recipe, changed as `common.ARGUMENTS` allows."""
    config = jhmdb_finetune.get_config()
    common.take_shapes(config, weizmann_pretrain.get_config())
    config.num_steps = 1500
    config.augment.mix_group_size = 16
    config.checkpoint_every = config.eval.every = 500
    config.eval.temporal_views = 2
    config.eval.spatial_views = 3
    return common.with_argument(config, argument)
