"""MGM pretraining on MiniKinetics-200 (Table 4d).

    python -m mgm_jax.main --config=configs/minik200_pretrain.py \
        --config.data.path=DIR --workdir=WORKDIR

Data: MiniKinetics-200 (80,000 training clips of Kinetics-400, 200 classes), prepared.
As Kinetics-400 otherwise.
Expected (paper, Table 4d, ViT-B, after finetuning on Kinetics-400): 78.2 % top-1, against 78.6 from
all of it. Not reproduced here.
Cost: about 0.34 TFLOP a clip (ViT-B, counted by the compiler), so 800 epochs are
22 EFLOP: 15 hours of an accelerator that sustains 400 TFLOP/s.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the recipe, changed as `common.ARGUMENTS` allows."""
    config = common.pretrain()
    config.data.stride = 4
    config.data.flip = True
    return common.with_argument(config, argument)
