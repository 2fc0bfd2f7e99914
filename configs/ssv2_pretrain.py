"""MGM pretraining on Something-Something V2 (Table 5; Table 1, left).

    python -m mgm_jax.main --config=configs/ssv2_pretrain.py \
        --config.data.path=DIR --workdir=WORKDIR

The ablations of Table 4 and Figure 3 are arguments, e.g. `ssv2_pretrain.py:mask=smm,epochs=200`:
`mask` (a strategy of Table 4e), `ratio`, `jitter`, `guidance`, `motion` (codec, estimate, flow or
raft; Table 4b), `epochs`, `backbone` (vit, timesformer_divided or timesformer_joint; Table 4a) and
`size` (Ti, S, B, L or H). Masks that ignore the motion are read faster with `motion=none`.

Data: Something-Something V2 (168,913 training clips, 174 classes), prepared by `data_prep`.
Expected (paper, ViT-B, after finetuning): 69.6 / 70.6 / 71.6 / 71.8 / 72.1 % top-1 at
400 / 800 / 1200 / 1600 / 2400 epochs; at 200 epochs by mask (Table 4e): random_block 62.9,
smm_sparse 64.6, random_tube 65.0, mgm_sparse 65.1, smm 65.9, mgm 67.3. Not reproduced here.
Cost: about 0.34 TFLOP per clip (ViT-B, counted by the compiler), so 800 epochs are
46 EFLOP: 32 hours of an accelerator that sustains 400 TFLOP/s.
"""

from ml_collections import ConfigDict

from mgm_jax import base_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe."""
    config = base_config.pretrain()
    config.data.stride = 2
    config.data.flip = False  # Labels tell left from right.

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
