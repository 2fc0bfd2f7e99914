"""Linear probe of the demo model's features on the demo set's classes, on two CPU cores.

    python -m mgm_jax.main --config=configs/demo_linear_probe.py \
        --config.init_from=runs/demo --config.data.path=runs/demo_data --workdir=runs/demo_probe

`configs/demo_pretrain.py` makes `runs/demo_data` and `runs/demo`. Argument: `backbone`.
"""

from ml_collections import ConfigDict

from mgm_jax import base_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe."""
    config = base_config.linear_probe()
    config.batch_size = 64
    config.num_steps = 500
    config.warmup_steps = 25

    config.data.repeated_augmentation = 1
    config.data.area = (0.7, 1.0)

    base_config.demo_vit(config)

    config.probe.learning_rate_factors = (1.0, 3.0, 10.0, 30.0)
    config.probe.batch_norm = True

    config.optimizer.base_lr = 1e-2

    config.checkpoint_every = 250
    config.eval.temporal_views = 1
    config.eval.spatial_views = 1
    base_config.apply_arg(config, arg, backbone="model.backbone")
    return config
