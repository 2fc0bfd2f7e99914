"""Finetuning on Something-Something V2 (Table 6).

    python -m mgm_jax.main --config=configs/ssv2_finetune.py \
        --config.init_from=PRETRAINED --config.data.path=DIR --workdir=WORKDIR

Arguments: `epochs`, `views` (temporal views of the test), `backbone`, `size`. From scratch:
configs/supervised.py.

Data: Something-Something V2 (168,913 training and 24,777 validation clips, 174 classes), prepared
by `data_prep`.
Expected (paper, ViT-B): 69.6 % top-1 from 400 epochs of pretraining, 72.1 % from 2400. Not
reproduced here.
Cost: about 1.1 TFLOP per clip (ViT-B, three times VideoMAE's 2 x 180 G multiply-adds), so the
run is 10.9 EFLOP: 7.6 hours of an accelerator that sustains 400 TFLOP/s.
"""

from ml_collections import ConfigDict

from mgm_jax import base_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe."""
    config = base_config.finetune()
    config.epochs = 30.0
    config.warmup_epochs = 5.0

    config.data.sampling = "segments"
    config.data.flip = False  # Labels tell left from right.

    config.model.drop_path = 0.1

    config.optimizer.base_lr = 5e-4
    config.optimizer.layer_decay = 0.75

    config.eval.temporal_views = 2
    base_config.apply_arg(
        config,
        arg,
        epochs="epochs",
        views="eval.temporal_views",
        backbone="model.backbone",
        size="model.size",
    )
    return config
