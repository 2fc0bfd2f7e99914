"""Linear probe of frozen features on UCF101, HMDB51 or Diving48 (Table 2).

    python -m mgm_jax.main --config=configs/transfer_linear_probe.py \
        --config.init_from=PRETRAINED --config.data.path=DIR --workdir=WORKDIR

Arguments: `epochs`, `views` (temporal views of the test), `backbone`, `size`, `probe` (plain or
m3video, with that code's augmentation). For several learning rates at once, with MAE's BatchNorm:

    --config.probe.learning_rate_factors='(1.,10.,100.)' --config.probe.batch_norm

Data: as in configs/transfer_finetune.py.
Expected (paper, ViT-B, top-1 in %, after 800 epochs of pretraining on K400 / SSv2; it gives no
recipe): UCF101 77.5 / 69.1, HMDB51 49.2 / 44.8, Diving48 14.2 / 10.2. Not reproduced here.
Cost: about 0.36 TFLOP per clip (ViT-B, VideoMAE's 2 x 180 G multiply-adds): on UCF101 0.2 EFLOP, or
9 minutes of an accelerator that sustains 400 TFLOP/s.
"""

from ml_collections import ConfigDict

from mgm_jax import base_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe."""
    config = base_config.linear_probe()
    config.data.flip = True
    config.eval.split = "test"
    chosen = base_config.apply_arg(
        config,
        arg,
        epochs="epochs",
        views="eval.temporal_views",
        backbone="model.backbone",
        size="model.size",
        probe=("plain", "m3video"),
    )
    if chosen["probe"] == "m3video":
        base_config.probe_as_m3video(config)
    return config
