"""MGM pretraining of a small ViT on the rendered demo set, on two CPU cores.

    python -m data_prep.demo --out=runs/demo_data
    python -m mgm_jax.main --config=configs/demo_pretrain.py \
        --config.data.path=runs/demo_data --workdir=runs/demo

`bash launch/demo.sh` does both. Any folder of videos works instead of the demo set:

    --config.data.source=folder --config.data.path=DIR

Arguments: `mask`, `ratio`, `jitter`, `guidance`, `motion`, `backbone` as in
configs/ssv2_pretrain.py.
"""

from ml_collections import ConfigDict

from mgm_jax import base_config


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe."""
    config = base_config.pretrain()
    config.batch_size = 64
    config.num_steps = 1500
    config.warmup_steps = 75

    base_config.demo_vit(config)

    # In minutes a small model learns the colours of masked tokens, which are just what the paper's
    # normalised targets leave out.
    config.norm_pix_loss = False

    config.optimizer.base_lr = 4e-3
    config.optimizer.min_lr = 4e-5

    config.log_every = 25
    config.checkpoint_every = 150
    config.pictures_every = 300
    base_config.apply_arg(
        config,
        arg,
        mask="masking.strategy",
        ratio="masking.ratio",
        jitter="masking.jitter",
        guidance="masking.guidance",
        motion="data.motion",
        backbone="model.backbone",
    )
    return config
