"""MGM pretraining on Kinetics-400 (Table 5; Table 1, right) or MiniKinetics-200 (Table 4d).

    python -m mgm_jax.main --config=configs/k400_pretrain.py \
        --config.data.path=DIR --workdir=WORKDIR

Arguments as in configs/ssv2_pretrain.py: `k400_pretrain.py:mask=random_tube`. Table 4d pretrains
on either data with `k400_pretrain.py:epochs=200`.

Data: Kinetics-400 (about 240,000 training clips, 400 classes) or MiniKinetics-200 (80,000 of them,
200 classes), prepared by `data_prep`.
Expected (paper, ViT-B, after finetuning on Kinetics-400): 80.3 / 80.8 / 81.2 / 81.7 % top-1 at
400 / 800 / 1200 / 1600 epochs; at 200 epochs 78.6, and 78.2 from MiniKinetics-200 (Table 4d). Not
reproduced here.
Cost: about 0.34 TFLOP per clip (ViT-B, counted by the compiler), so 800 epochs are
65 EFLOP: 45 hours of an accelerator that sustains 400 TFLOP/s; 200 epochs on MiniKinetics-200 are
5.4 EFLOP.
"""

from ml_collections import ConfigDict

from mgm_jax import base_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe."""
    config = base_config.pretrain()
    config.data.stride = 4
    config.data.flip = True
    config.data.host_crop_size = 320  # The short side of the prepared videos, as VideoMAE's.

    base_config.apply_arg(
        config,
        arg,
        mask="masking.strategy",
        ratio="masking.ratio",
        jitter="masking.jitter",
        guidance="masking.guidance",
        motion="data.motion",
        backbone="model.backbone",
        epochs="epochs",
        size="model.size",
    )
    return config
