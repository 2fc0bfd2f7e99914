"""MGM pretraining of a small ViT on the rendered demo set, on two CPU cores.

    python -m data_prep.demo --out=runs/demo_data
    python -m mgm_jax.main --config=configs/demo_pretrain.py \
        --config.data.path=runs/demo_data --workdir=runs/demo

`bash launch/demo.sh` does the same with fewer clips and steps. Any folder of videos works instead
of the demo set:

    --config.data.source=folder --config.data.path=DIR

Pretraining that pays in finetuning (docs/results.md) takes half an hour on one core:

    python -m mgm_jax.main --config.data.path=runs/demo_data --config.data.size=32 \
        --config=configs/demo_pretrain.py:target=normalised,mask=random_tube,ratio=0.75 \
        --workdir=runs/demo_normalised

Arguments: `target` (pixels or normalised), and `mask`, `ratio`, `jitter`, `guidance`, `motion`
as in configs/ssv2_pretrain.py.
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
    # normalised targets leave out. Those are at a plateau for the first 100,000 clips.
    config.norm_pix_loss = False

    config.optimizer.base_lr = 4e-3
    config.optimizer.min_lr = 4e-5

    config.log_every = 25
    config.checkpoint_every = 150
    config.pictures_every = 300
    chosen = base_config.apply_arg(
        config,
        arg,
        target=("pixels", "normalised"),
        mask="masking.strategy",
        ratio="masking.ratio",
        jitter="masking.jitter",
        guidance="masking.guidance",
        motion="data.motion",
    )
    if chosen["target"] == "normalised":
        config.norm_pix_loss = True
        config.norm_pix_eps = 0.02
        config.model.decoder.depth = 1
        config.batch_size = 32
        config.data.repeated_augmentation = 2  # Two clips of a video halve the cost of decoding.
        config.num_steps = 8000
        config.warmup_steps = 400
        config.optimizer.base_lr = 8e-3  # For the videos of a step, not its clips.
        config.optimizer.min_lr = 8e-5
        config.checkpoint_every = 1000
        config.pictures_every = 4000
    return config
