"""Finetuning on HMDB51 (Table 6).

    python -m mgm_jax.main --config=configs/hmdb51_finetune.py \
        --config.init_from=PRETRAINED --config.data.path=DIR --workdir=WORKDIR

Data: HMDB51 (3,570 training and 1,530 test clips of split 1, 51 classes), prepared.
Expected (paper, ViT-B): 74.6 / 69.7 % top-1 pretrained on K400 / SSv2 for 800 epochs (Table 2).
Not reproduced here.
Cost: about 1.1 TFLOP a clip (ViT-B, three times VideoMAE's 2 x 180 G multiply-adds), so the
run is 0.8 EFLOP: 0.5 hours of an accelerator that sustains 400 TFLOP/s.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the recipe, changed as `common.ARGUMENTS` allows."""
    config = common.finetune()
    config.epochs = 100.0
    config.warmup_epochs = 0.0

    config.data.flip = True

    config.model.drop_path = 0.2

    config.optimizer.base_lr = 0.0005
    config.optimizer.layer_decay = 0.7

    config.eval.split = "test"
    config.eval.temporal_views = 5
    return common.with_argument(config, argument)
