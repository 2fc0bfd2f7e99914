"""MGM pretraining on Kinetics-400 (Table 5; Table 1, right).

    python -m mgm_jax.main --config=configs/k400_pretrain.py \
        --config.data.path=DIR --workdir=WORKDIR

Data: Kinetics-400 (about 240,000 training clips, 400 classes), prepared.
Expected (paper, ViT-B, after finetuning): 80.3 / 80.8 / 81.2 / 81.7 % top-1 at
400 / 800 / 1200 / 1600 epochs. Not yet reproduced here: it takes accelerators for days.
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    """Returns the recipe."""
    config = common.pretrain()
    config.data.stride = 4
    config.data.flip = True
    return config
