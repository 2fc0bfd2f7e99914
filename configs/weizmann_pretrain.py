"""MGM pretraining of a small ViT on Weizmann's training clips: minutes on two CPU cores.

    python -m data_prep.prepare --dataset=csv --name=weizmann --videos=VIDEOS \
        --annotations=weizmann.csv --profile=stride_aligned --stride=2 --short_side=128 \
        --out=runs/weizmann
    python -m mgm_jax.main --config=configs/weizmann_pretrain.py \
        --config.data.path=runs/weizmann --workdir=runs/weizmann_pretrain

Data: Weizmann actions (90 clips of 36 to 146 frames, 10 classes, 9 persons), as downloaded, and a
csv file with the columns path,label,label_id,split (train or test), split by person. Labels are not
used here.
"""

from ml_collections import ConfigDict

from configs import common, jhmdb_pretrain


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the recipe, changed as `common.ARGUMENTS` allows."""
    config = jhmdb_pretrain.get_config()
    config.num_steps = 800
    config.pictures_every = 400
    return common.with_argument(config, argument)
