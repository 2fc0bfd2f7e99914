"""Linear probe of the small ViT's frozen features on Weizmann: minutes on two CPU cores.

    python -m mgm_jax.main --config=configs/weizmann_linear_probe.py \
        --config.init_from=runs/weizmann_pretrain --config.data.path=runs/weizmann \
        --workdir=runs/weizmann_linear_probe

Four learning rates in one pass; the best on a tenth of the training clips counts.

Data: as configs/weizmann_pretrain.py.
"""

from ml_collections import ConfigDict

from configs import common, jhmdb_linear_probe, weizmann_pretrain


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the recipe, changed as `common.ARGUMENTS` allows."""
    config = jhmdb_linear_probe.get_config()
    common.take_shapes(config, weizmann_pretrain.get_config())
    config.eval.temporal_views = 2
    config.eval.spatial_views = 3
    return common.with_argument(config, argument)
