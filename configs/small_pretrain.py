"""MGM pretraining of a small ViT on a few hundred real clips: minutes on two CPU cores.

    python -m data_prep.prepare --dataset=csv --name=jhmdb --videos=VIDEOS \
        --annotations=jhmdb_split1.csv --profile=stride_aligned:2 --short_side=128 \
        --out=runs/jhmdb
    python -m mgm_jax.main --config=configs/small_pretrain.py \
        --config.data.path=runs/jhmdb --workdir=runs/jhmdb_pretrain

Arguments: `dataset` (jhmdb or weizmann, which trains for fewer steps), and `mask`, `ratio`,
`jitter`, `guidance`, `motion`, `backbone` as in configs/ssv2_pretrain.py.

Data: J-HMDB (928 clips of 15 to 40 frames, 21 classes) or Weizmann actions (90 clips of 36 to 146
frames, 10 classes, 9 persons; split by person), as downloaded, and a csv file with the columns
path,label,split (train or test). Labels are not used here. Other videos of people work as well.
"""

from ml_collections import ConfigDict

from mgm_jax import base_config

STEPS = {"jhmdb": 1500, "weizmann": 800}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe."""
    config = base_config.pretrain()
    base_config.small_vit(config)
    chosen = base_config.apply_arg(
        config,
        arg,
        dataset=tuple(STEPS),
        mask="masking.strategy",
        ratio="masking.ratio",
        jitter="masking.jitter",
        guidance="masking.guidance",
        motion="data.motion",
        backbone="model.backbone",
    )
    config.batch_size = 32
    config.num_steps = STEPS[chosen["dataset"]]
    config.warmup_steps = 100

    config.data.flip = True
    config.norm_pix_loss = False  # See configs/demo_pretrain.py.

    config.optimizer.base_lr = 1.5e-2
    config.optimizer.min_lr = 5e-4

    config.checkpoint_every = 250
    config.pictures_every = config.num_steps // 2
    return config
