"""MGM pretraining on Something-Something V2 (Table 5; Table 1, left).

    python -m mgm_jax.main --config=configs/ssv2_pretrain.py \
        --config.data.path=DIR --workdir=WORKDIR

Data: Something-Something V2 (220,847 clips, 174 classes; 168,913 of them for training), prepared.
Expected (paper, ViT-B, after finetuning): 69.6 / 70.6 / 71.6 / 71.8 / 72.1 % top-1 at
400 / 800 / 1200 / 1600 / 2400 epochs. Not yet reproduced here: it takes accelerators for days.
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    """Returns the recipe."""
    config = common.pretrain()
    config.data.stride = 2
    config.data.flip = False  # Labels tell left from right.
    return config
