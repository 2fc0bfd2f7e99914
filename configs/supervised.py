"""Supervised training from scratch on Kinetics-400 or Something-Something V2 (Table 2 †).

    python -m mgm_jax.main --config=configs/supervised.py:dataset=ssv2 \
        --config.data.path=DIR --workdir=WORKDIR

Arguments: `dataset` (k400 or ssv2), `epochs`, `backbone`, `size`.

MViT's recipe for Kinetics-400, as the paper says: SlowFast's MVIT_B_16x4_CONV.yaml, whose learning
rate of 1e-4 for 16 videos, two clips of each, is 1.6e-3 for 256. The result is finetuned by
configs/transfer_finetune.py.
"""

from ml_collections import ConfigDict

from mgm_jax import base_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe."""
    config = base_config.finetune()
    config.epochs = 200.0
    config.warmup_epochs = 30.0

    config.model.drop_path = 0.2
    config.model.head_dropout = 0.5
    config.model.init = "trunc_normal"
    config.model.head_init_scale = 1.0

    config.optimizer.base_lr = 1.6e-3
    config.optimizer.min_lr = 1.6e-5
    config.optimizer.warmup_lr = 1.6e-5
    config.optimizer.layer_decay = 1.0
    config.optimizer.clip_norm = 1.0
    chosen = base_config.apply_arg(
        config,
        arg,
        dataset=("k400", "ssv2"),
        epochs="epochs",
        backbone="model.backbone",
        size="model.size",
    )
    if chosen["dataset"] == "k400":
        config.data.flip = True
        config.data.host_crop_size = 320
    else:
        config.data.sampling = "segments"
        config.eval.temporal_views = 2
    return config
