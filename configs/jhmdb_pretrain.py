"""MGM pretraining of a small ViT on J-HMDB's training clips: minutes on two CPU cores.

    python -m data_prep.prepare --dataset=csv --name=jhmdb --videos=VIDEOS \
        --annotations=jhmdb_split1.csv --profile=stride_aligned --stride=2 --short_side=128 \
        --out=runs/jhmdb
    python -m mgm_jax.main --config=configs/jhmdb_pretrain.py \
        --config.data.path=runs/jhmdb --workdir=runs/jhmdb_pretrain

Data: J-HMDB (928 clips of 15 to 40 frames, 21 classes), as downloaded, and a csv file with the
columns path,label,label_id,split (train or test) for one of its splits. Labels are not used here.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the recipe, changed as `common.ARGUMENTS` allows."""
    config = common.pretrain()
    config.batch_size = 32
    config.num_steps = 1500
    config.warmup_steps = 100

    config.data.clip_frames = 16
    config.data.stride = 2
    config.data.size = 96
    config.data.host_crop_size = 128
    config.data.flip = True
    config.data.num_workers = 1

    config.model.size = "Ti"
    config.model.encoder.dim = 128
    config.model.encoder.depth = 4
    config.model.encoder.heads = 4
    config.model.decoder.depth = 2
    config.model.tubelet = (4, 16, 16)
    config.model.dtype = "float32"

    config.norm_pix_loss = False  # As in configs/demo_pretrain.py.

    config.optimizer.base_lr = 1.5e-2
    config.optimizer.min_lr = 5e-4

    config.checkpoint_every = 250
    config.pictures_every = 750
    return common.with_argument(config, argument)
