"""Affine warps of clips by two passes of linear interpolation, along one axis each."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def warp(
    clip: Float[Array, "T H W c"], matrix: Float[Array, "3 3"], fill: float
) -> Float[Array, "T H W c"]:
    """Warps all frames of a clip alike.

    Pixel centres and borders are those of Pillow's `Image.transform` with BILINEAR. Columns are
    interpolated first, then rows: shears and shifts equal Pillow's, a rotation is close to it.
    (Interpolating both axes at once needs a gather of single pixels, which is slow on TPUs; along
    one axis it is a product with a matrix per column or row.)

    Args:
        clip: Frames, in any unit.
        matrix: Maps (x, y, 1) of the output to the source, in pixels. Its top left element must
            not be zero (no rotation by 90 degrees); large rotations lose detail.
        fill: Value of pixels from outside the frame.
    """
    frames, height, width, channels = clip.shape
    (a, b, c), (d, e, f) = matrix[0], matrix[1]
    x = jnp.arange(width) + 0.5
    y = jnp.arange(height)[:, None] + 0.5
    # Source column u and row v of each output pixel, and v as a function of the source column.
    u = a * x + b * y + c
    v = d * x + e * y + f
    v_at_column = (d / a) * (x - b * y - c) + e * y + f

    columns = clip.transpose(2, 1, 0, 3).reshape(width, height, frames * channels)
    rows = _interpolate(columns, v_at_column.T - 0.5).swapaxes(0, 1)
    rows = _interpolate(rows, u - 0.5)
    warped = rows.reshape(height, width, frames, channels).transpose(2, 0, 1, 3)
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    return jnp.where(inside[:, :, None], warped, fill)


def _interpolate(
    lines: Float[Array, "l n c"], positions: Float[Array, "l m"]
) -> Float[Array, "l m c"]:
    """Values of each line at fractional positions, clipped to its ends."""
    positions = jnp.clip(positions, 0.0, lines.shape[1] - 1.0)
    return jax.lax.platform_dependent(
        lines, positions, tpu=interpolate_by_matmul, default=interpolate_by_gather
    )


def interpolate_by_matmul(
    lines: Float[Array, "l n c"], positions: Float[Array, "l m"]
) -> Float[Array, "l m c"]:
    """Interpolates with a matrix of weights per line, which XLA for TPU computes on the fly."""
    weights = 1.0 - jnp.abs(positions[:, :, None] - jnp.arange(lines.shape[1]))
    weights = jnp.maximum(weights, 0.0)
    return jnp.einsum("lmn,lnc->lmc", weights, lines, precision=jax.lax.Precision.HIGHEST)


def interpolate_by_gather(
    lines: Float[Array, "l n c"], positions: Float[Array, "l m"]
) -> Float[Array, "l m c"]:
    """The same as `interpolate_by_matmul`, by gathering the two neighbours."""
    before = jnp.floor(positions)
    share = (positions - before)[:, :, None]
    index = before.astype(jnp.int32)
    after = jnp.minimum(index + 1, lines.shape[1] - 1)
    pick = jax.vmap(lambda line, i: line[i])
    return pick(lines, index) * (1.0 - share) + pick(lines, after) * share
