"""Linear probe of frozen features on HMDB51 (Table 2).

    python -m mgm_jax.main --config=configs/hmdb51_linear_probe.py \
        --config.init_from=PRETRAINED --config.data.path=DIR --workdir=WORKDIR

Several learning rates in one pass, with MAE's BatchNorm:

    --config.probe.learning_rate_factors='(1.,10.,100.)' --config.probe.batch_norm

Data: HMDB51 (3,570 training and 1,530 test clips of split 1, 51 classes), prepared.
Expected (paper, ViT-B, no recipe given): 49.2 / 44.8 % top-1 pretrained on K400 / SSv2 for
800 epochs (Table 2). Not reproduced here.
Cost: about 0.36 TFLOP a clip (ViT-B, VideoMAE's 2 x 180 G multiply-adds), so 30 epochs with two
copies are 0.1 EFLOP: 3 minutes of an accelerator that sustains 400 TFLOP/s.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the recipe, changed as `common.ARGUMENTS` allows."""
    config = common.linear_probe()
    config.data.flip = True

    config.eval.split = "test"
    return common.with_argument(config, argument)
