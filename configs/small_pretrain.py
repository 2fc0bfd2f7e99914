"""MGM pretraining of a small ViT on a few hundred videos: minutes on two CPU cores.

    python -m mgm_jax.main --config=configs/small_pretrain.py \
        --config.data.path=VIDEOS --workdir=runs/my_pretrain

VIDEOS holds a folder of videos for each class, of which a fifth is held out for testing; labels are
not used here. Arguments: `mask`, `ratio`, `jitter`, `guidance`, `motion`, `backbone` as in
configs/ssv2_pretrain.py.

J-HMDB (928 clips of 15 to 40 frames, 21 classes), with a csv file of the columns path,label,split
(train or test); Weizmann's 90 clips need 800 steps:

    python -m data_prep.prepare --dataset=csv --name=jhmdb --videos=VIDEOS \
        --annotations=jhmdb_split1.csv --profile=stride_aligned:2 --short_side=128 \
        --out=runs/jhmdb
    python -m mgm_jax.main --config=configs/small_pretrain.py --config.data.source=records \
        --config.data.path=runs/jhmdb --config.eval.holdout=0 --workdir=runs/jhmdb_pretrain
"""

from ml_collections import ConfigDict

from mgm_jax import base_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe."""
    config = base_config.pretrain()
    base_config.small_vit(config)
    base_config.apply_arg(
        config,
        arg,
        mask="masking.strategy",
        ratio="masking.ratio",
        jitter="masking.jitter",
        guidance="masking.guidance",
        motion="data.motion",
        backbone="model.backbone",
    )
    config.batch_size = 32
    config.num_steps = 1500
    config.warmup_steps = 100

    config.data.source = "folder"
    config.data.flip = True
    config.norm_pix_loss = False  # See configs/demo_pretrain.py.

    config.optimizer.base_lr = 1.5e-2
    config.optimizer.min_lr = 5e-4

    config.eval.holdout = 0.2
    config.checkpoint_every = 250
    config.pictures_every = config.num_steps // 2
    return config
