"""How many floating-point operations a model takes, counted from its shape.

Only matrix products count, a multiplication and an addition as two operations, as is usual for
model FLOPs utilisation (Chowdhery et al., PaLM, appendix B). The backward pass takes twice those of
the forward pass; what rematerialisation computes again does not count.
"""

import math

from mgm_jax.models.mae import MaskedAutoencoder
from mgm_jax.models.vit import TransformerSettings

FORWARD_AND_BACKWARD = 3
"""Operations of a training step over those of its forward pass."""


def blocks_flops(settings: TransformerSettings, tokens: int) -> float:
    """Operations of a stack of blocks with joint attention, forward.

    Args:
        settings: Shape of the transformer.
        tokens: Tokens of a clip.

    Returns:
        Operations per clip.
    """
    linear = (4 + 2 * settings.mlp_ratio) * settings.dim**2
    attention = 2 * tokens * settings.dim
    return 2 * settings.depth * tokens * (linear + attention)


def autoencoder_flops(model: MaskedAutoencoder, num_masked: int) -> float:
    """Operations of a masked autoencoder with joint attention, forward.

    Args:
        model: The autoencoder.
        num_masked: Masked tokens of a clip.

    Returns:
        Operations per clip.
    """
    encoder, decoder = model.settings.encoder, model.settings.decoder
    tokens, patch_dim = math.prod(model.grid), 3 * math.prod(model.tubelet)
    visible = tokens - num_masked
    ends = 2 * visible * encoder.dim * (patch_dim + decoder.dim)
    head = 2 * num_masked * decoder.dim * patch_dim
    return ends + blocks_flops(encoder, visible) + blocks_flops(decoder, tokens) + head
