"""MGM pretraining of a small ViT on the rendered demo set: minutes on two CPU cores.

    python -m data_prep.demo --out=runs/demo_data
    python -m mgm_jax.main --config=configs/demo_pretrain.py \
        --config.data.path=runs/demo_data --workdir=runs/demo

`bash launch/demo.sh` does both. Any folder of videos works in the place of the demo set:

    --config.data.source=folder --config.data.path=DIR

Expected: see the README.
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    """Returns the recipe."""
    config = common.pretrain()
    config.batch_size = 16
    config.num_steps = 600
    config.warmup_steps = 60

    config.data.stride = 2
    config.data.size = 64
    config.data.window = 128
    config.data.num_workers = 1

    config.model.size = "Ti"
    config.model.tubelet = (2, 8, 8)
    config.model.dtype = "float32"

    config.optimizer.base_lr = 1.2e-2
    config.optimizer.min_lr = 1e-4

    config.log_every = 20
    config.checkpoint_every = 200
    config.pictures_every = 200
    return config
