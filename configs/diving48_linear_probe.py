"""Linear probe of frozen features on Diving48 V2 (Table 2).

    python -m mgm_jax.main --config=configs/diving48_linear_probe.py \
        --config.init_from=PRETRAINED --config.data.path=DIR --workdir=WORKDIR

Several learning rates in one pass, with MAE's BatchNorm:

    --config.probe.learning_rate_factors='(1.,10.,100.)' --config.probe.batch_norm

Data: Diving48 V2 (15,027 training and 1,970 test clips, 48 classes), prepared.
Expected (paper, ViT-B, no recipe given): 14.2 / 10.2 % top-1 pretrained on K400 / SSv2 for
800 epochs (Table 2). Not reproduced here.
Cost: about 0.36 TFLOP a clip (ViT-B, VideoMAE's 2 x 180 G multiply-adds), so 30 epochs with two
copies are 0.3 EFLOP: 14 minutes of an accelerator that sustains 400 TFLOP/s.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the recipe, changed as `common.ARGUMENTS` allows."""
    config = common.linear_probe()
    config.data.flip = True

    config.eval.split = "test"
    return common.with_argument(config, argument)
