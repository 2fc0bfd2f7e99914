"""Linear probe of the features of a small ViT: minutes on two CPU cores.

    python -m mgm_jax.main --config=configs/small_linear_probe.py \
        --config.init_from=runs/my_pretrain --config.data.path=VIDEOS --workdir=runs/my_probe

Four learning rates train in one pass; the best on a tenth of the training clips is kept.
Arguments: `dataset` (own, or demo for the model and the clips of configs/demo_pretrain.py),
`backbone`. Data, and the flags for J-HMDB: as in configs/small_pretrain.py.
"""

from ml_collections import ConfigDict

from mgm_jax import base_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe."""
    config = base_config.linear_probe()
    base_config.small_vit(config)
    chosen = base_config.apply_arg(config, arg, dataset=("own", "demo"), backbone="model.backbone")
    config.batch_size = 32
    config.num_steps = 400

    config.data.source = "folder"
    config.data.flip = True
    config.data.area = (0.3, 1.0)
    config.data.repeated_augmentation = 1

    config.probe.learning_rate_factors = (1.0, 3.0, 10.0, 30.0)
    config.probe.batch_norm = True

    config.optimizer.base_lr = 1e-2

    config.checkpoint_every = 200
    config.eval.holdout = 0.2
    config.eval.split = "test"
    config.eval.every = 200
    config.eval.subset = 0
    config.eval.temporal_views = 3
    config.eval.spatial_views = 1
    if chosen["dataset"] == "demo":
        base_config.demo_vit(config)
        config.data.source, config.eval.holdout = "records", 0.0
        config.batch_size = 64
        config.num_steps = 1000
        config.warmup_steps = 50
        config.data.flip = False
        config.data.area = (0.7, 1.0)
        config.eval.split = "validation"
        config.eval.temporal_views = 1
    return config
