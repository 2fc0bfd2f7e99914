"""Finetuning on Kinetics-400 (Table 6).

    python -m mgm_jax.main --config=configs/k400_finetune.py \
        --config.init_from=PRETRAINED --config.data.path=DIR --workdir=WORKDIR

Arguments: `epochs`, `views` (temporal views of the test), `backbone`, `size`. From scratch:
configs/supervised.py.

Data: Kinetics-400 (about 240,000 training and 20,000 validation clips, 400 classes), prepared by
`data_prep`.
Expected (paper, ViT-B): 80.3 % top-1 from 400 epochs of pretraining, 81.7 % from 1600. Not
reproduced here.
Cost: about 1.1 TFLOP per clip (ViT-B, three times VideoMAE's 2 x 180 G multiply-adds), so the
run is 38.9 EFLOP: 27.0 hours of an accelerator that sustains 400 TFLOP/s.
"""

from ml_collections import ConfigDict

from mgm_jax import base_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe."""
    config = base_config.finetune()
    config.epochs = 75.0
    config.warmup_epochs = 5.0

    config.data.flip = True
    config.data.host_crop_size = 320  # The short side of the prepared videos, as VideoMAE's.

    config.model.drop_path = 0.1

    config.optimizer.base_lr = 1e-3
    config.optimizer.layer_decay = 0.75

    config.eval.temporal_views = 5
    base_config.apply_arg(
        config,
        arg,
        epochs="epochs",
        views="eval.temporal_views",
        backbone="model.backbone",
        size="model.size",
    )
    return config
