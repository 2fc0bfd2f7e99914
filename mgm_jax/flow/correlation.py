"""All-pairs correlation of two feature maps, and the look-up around a flow (RAFT, section 3.2)."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

PYRAMID_LEVELS = 4
RADIUS = 3
"""Correlations are looked up this many cells around the estimate, on every level."""
_PRECISION = jax.lax.Precision.HIGHEST


def correlation_pyramid(
    features1: Float[Array, "b h w c"], features2: Float[Array, "b h2 w2 c"]
) -> tuple[Float[Array, "b n _ _"], ...]:
    """Correlates every cell of one feature map with every cell of another.

    Returns:
        For each level and each of the n = h·w cells of the first map, a map of its correlations
        with the second. Each level halves the previous one by 2x2 averaging; an odd last row or
        column is dropped.
    """
    batch, height, width, channels = features1.shape
    level = jnp.einsum(
        "bnc,bijc->bnij",
        features1.reshape(batch, height * width, channels) / np.sqrt(channels),
        features2,
    )
    levels = [level]
    for _ in range(PYRAMID_LEVELS - 1):
        rows, columns = level.shape[2] // 2, level.shape[3] // 2
        level = level[:, :, : 2 * rows, : 2 * columns]
        level = level.reshape(batch, -1, rows, 2, columns, 2).mean(axis=(3, 5))
        levels.append(level)
    return tuple(levels)


def look_up(
    pyramid: tuple[Float[Array, "b n _ _"], ...], centres: Float[Array, "b h w 2"]
) -> Float[Array, "b h w features"]:
    """Samples each cell's correlations around `centres`, on every level.

    Bilinear, zero outside the map. The samples lie one cell apart along each axis, so sampling is
    one small matrix per axis, which is faster than a gather on accelerators.

    Args:
        pyramid: From `correlation_pyramid`, for n = h·w cells.
        centres: Position (x, y) in the second map, in cells of the finest level.

    Returns:
        (2·RADIUS + 1)² samples per level, of which x is the slower axis.
    """
    batch, height, width, _ = centres.shape
    centres = centres.reshape(batch, height * width, 2)
    offsets = jnp.arange(-RADIUS, RADIUS + 1, dtype=centres.dtype)
    samples = []
    for number, level in enumerate(pyramid):
        x, y = (centres[..., axis, None] / 2**number + offsets for axis in (0, 1))
        rows, columns = _hat_weights(y, level.shape[2]), _hat_weights(x, level.shape[3])
        sampled = jnp.einsum("bnyh,bnhw->bnyw", rows, level, precision=_PRECISION)
        sampled = jnp.einsum("bnyw,bnxw->bnxy", sampled, columns, precision=_PRECISION)
        samples.append(sampled.reshape(batch, height, width, -1))
    return jnp.concatenate(samples, axis=-1)


def _hat_weights(positions: Float[Array, "*n"], size: int) -> Float[Array, "*n {size}"]:
    """Weights of the cells along an axis for linear interpolation at `positions`."""
    cells = jnp.arange(size, dtype=positions.dtype)
    return jnp.maximum(1 - jnp.abs(positions[..., None] - cells), 0)
