"""Finetuning of the small ViT on Weizmann: minutes on two CPU cores.

    python -m mgm_jax.main --config=configs/weizmann_finetune.py \
        --config.init_from=runs/weizmann_pretrain --config.data.path=weizmann.csv \
        --config.data.root=VIDEOS --workdir=runs/weizmann_finetune

Without `config.init_from` it trains from scratch.

Data: as configs/weizmann_pretrain.py.
"""

from ml_collections import ConfigDict

from configs import common, jhmdb_finetune


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the recipe, changed as `common.ARGUMENTS` allows."""
    return common.with_argument(jhmdb_finetune.get_config(), argument)
