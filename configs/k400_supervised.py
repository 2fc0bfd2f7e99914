"""Training on Kinetics-400 from scratch, what pretraining is compared with.

    python -m mgm_jax.main --config=configs/k400_supervised.py \
        --config.data.path=DIR --workdir=WORKDIR

Data: Kinetics-400 (about 240,000 training and 20,000 validation clips, 400 classes), prepared.
Expected: nothing that the paper reports; its supervised rows (Table 2, †) use MViT's recipe.
Cost: about 1.1 TFLOP a clip (ViT-B, three times VideoMAE's 2 x 180 G multiply-adds), so the
run is 38.9 EFLOP: 27.0 hours of an accelerator that sustains 400 TFLOP/s.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the recipe, changed as `common.ARGUMENTS` allows."""
    config = common.supervised()
    config.epochs = 75.0
    config.warmup_epochs = 5.0

    config.data.flip = True

    config.model.drop_path = 0.1

    config.optimizer.base_lr = 0.001

    config.eval.temporal_views = 5
    return common.with_argument(config, argument)
