"""MGM pretraining on Kinetics-400 (Table 5; Table 1, right).

    python -m mgm_jax.main --config=configs/k400_pretrain.py \
        --config.data.path=DIR --workdir=WORKDIR

Data: Kinetics-400 (about 240,000 training clips, 400 classes), prepared.
Expected (paper, ViT-B, after finetuning): 80.3 / 80.8 / 81.2 / 81.7 % top-1 at
400 / 800 / 1200 / 1600 epochs. Not reproduced here.
Cost: about 0.34 TFLOP a clip (ViT-B, counted by the compiler), so 800 epochs are
65 EFLOP: 45 hours of an accelerator that sustains 400 TFLOP/s.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the recipe, changed as `common.ARGUMENTS` allows."""
    config = common.pretrain()
    config.data.stride = 4
    config.data.flip = True
    return common.with_argument(config, argument)
