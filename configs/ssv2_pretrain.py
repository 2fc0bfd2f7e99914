"""MGM pretraining on Something-Something V2 (Table 5; Table 1, left).

    python -m mgm_jax.main --config=configs/ssv2_pretrain.py \
        --config.data.path=DIR --workdir=WORKDIR

Ablations of Table 4 and Figure 3 are arguments: `ssv2_pretrain.py:mask=smm,epochs=200`, with
`mask`, `ratio`, `jitter`, `motion`, `epochs` and `backbone`.

Data: Something-Something V2 (220,847 clips, 174 classes; 168,913 of them for training), prepared.
Expected (paper, ViT-B, after finetuning): 69.6 / 70.6 / 71.6 / 71.8 / 72.1 % top-1 at
400 / 800 / 1200 / 1600 / 2400 epochs; at 200 epochs by mask (Table 4e): random_block 62.9,
smm_sparse 64.6, random_tube 65.0, mgm_sparse 65.1, smm 65.9, mgm 67.3. Not reproduced here.
Cost: about 0.34 TFLOP a clip (ViT-B, counted by the compiler), so 800 epochs are
46 EFLOP: 32 hours of an accelerator that sustains 400 TFLOP/s.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(argument: str | None = None) -> ConfigDict:
    """Returns the recipe, changed as `common.ARGUMENTS` allows."""
    config = common.pretrain()
    config.data.stride = 2
    config.data.flip = False  # Labels tell left from right.
    return common.with_argument(config, argument)
