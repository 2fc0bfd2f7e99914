"""MGM pretraining of a small ViT on the rendered demo set: minutes on two CPU cores.

    python -m data_prep.demo --out=runs/demo_data
    python -m mgm_jax.main --config=configs/demo_pretrain.py \
        --config.data.path=runs/demo_data --workdir=runs/demo

`bash launch/demo.sh` does both. Any folder of videos works in the place of the demo set:

    --config.data.source=folder --config.data.path=DIR

Expected: the loss falls from about 1.2 to about 0.5, the variance that is left once the model knows
the colours of what is hidden; some 20 clips/s on two CPU cores.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the recipe, changed as `common.ARGUMENTS` allows."""
    config = common.pretrain()
    config.batch_size = 8
    config.num_steps = 600
    config.warmup_steps = 50

    config.data.stride = 2
    config.data.size = 64
    config.data.host_crop_size = 128
    config.data.num_workers = 1

    config.model.size = "Ti"
    config.model.encoder.dim = 128
    config.model.encoder.depth = 4
    config.model.encoder.heads = 4
    config.model.decoder.depth = 2
    config.model.tubelet = (2, 8, 8)
    config.model.dtype = "float32"

    # In minutes a small model learns the colours of what is hidden; normalised pixels, the paper's
    # target, leave just those out.
    config.norm_pix_loss = False

    config.optimizer.base_lr = 6e-2
    config.optimizer.min_lr = 1e-3

    config.log_every = 25
    config.checkpoint_every = 150
    config.pictures_every = 300
    return common.with_argument(config, argument)
