"""Linear probe of the small ViT's frozen features on J-HMDB: minutes on two CPU cores.

    python -m mgm_jax.main --config=configs/jhmdb_linear_probe.py \
        --config.init_from=runs/jhmdb_pretrain --config.data.path=runs/jhmdb \
        --workdir=runs/jhmdb_linear_probe

Four learning rates in one pass; the best on a tenth of the training clips counts.

Data: as configs/jhmdb_pretrain.py.
"""

from ml_collections import ConfigDict

from configs import common, jhmdb_pretrain


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the recipe, changed as `common.ARGUMENTS` allows."""
    config = common.linear_probe()
    config.batch_size = 32
    config.num_steps = 400

    common.take_shapes(config, jhmdb_pretrain.get_config())
    config.data.flip = True
    config.data.area = (0.3, 1.0)
    config.data.repeated_augmentation = 1

    config.probe.learning_rate_factors = (1.0, 3.0, 10.0, 30.0)
    config.probe.batch_norm = True

    config.optimizer.base_lr = 1e-2

    config.checkpoint_every = 200
    config.eval.split = "test"
    config.eval.every = 200
    config.eval.subset = 0
    config.eval.temporal_views = 3
    config.eval.spatial_views = 1
    return common.with_argument(config, argument)
