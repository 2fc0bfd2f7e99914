"""Affine warps of clips by two passes of bicubic interpolation, along one axis each."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped, UInt8

Taps = list[tuple[Int[Array, "l m"], Float[Array, "l m"]]]


def warp(
    clip: UInt8[Array, "T H W c"], matrix: Float[Array, "3 3"], end: Float[Array, "2"]
) -> UInt8[Array, "T H W c"]:
    """Warps all frames of a clip alike.

    Pixel centres, kernel and borders are those of Pillow's `Image.transform` with BICUBIC. Columns
    are interpolated first, then rows: shears and shifts equal Pillow's, a rotation is close to it.
    (Interpolating both axes at once needs a gather of single pixels, which is slow on TPUs; along
    one axis it is a product with a matrix per column or row.)

    Args:
        clip: Levels.
        matrix: Maps (x, y, 1) of the output to the source, in pixels. Its top left element must
            not be zero (no rotation by 90 degrees); large rotations lose detail.
        end: Rows and columns that hold the picture. The last ones repeat outside.
    """
    frames, height, width, channels = clip.shape
    (a, b, c), (d, e, f) = matrix[0], matrix[1]
    x = jnp.arange(width) + 0.5
    y = jnp.arange(height)[:, None] + 0.5
    # Source column u of each output pixel, and source row v as a function of the source column.
    u = a * x + b * y + c
    v_at_column = (d / a) * (x - b * y - c) + e * y + f

    columns = clip.transpose(2, 1, 0, 3).reshape(width, height, frames * channels)
    rows = _interpolate(columns, v_at_column.T - 0.5, end[0]).swapaxes(0, 1)
    rows = _interpolate(rows, u - 0.5, end[1])
    warped = rows.reshape(height, width, frames, channels).transpose(2, 0, 1, 3)
    return jnp.clip(jnp.round(warped), 0, 255).astype(jnp.uint8)


def _interpolate(
    lines: Shaped[Array, "l n c"], positions: Float[Array, "l m"], end: Float[Array, ""]
) -> Float[Array, "l m c"]:
    """Values of each line at fractional positions."""
    before = jnp.floor(positions)
    taps = []
    for step in (-1, 0, 1, 2):
        distance = jnp.abs(positions - before - step)
        near = (distance - 2) * distance**2 + 1
        far = ((5 - distance) * distance - 8) * distance + 4
        index = jnp.clip(before + step, 0, jnp.minimum(end, lines.shape[1]) - 1)
        taps.append((index.astype(jnp.int32), near if step in (0, 1) else far))
    return jax.lax.platform_dependent(
        lines.astype(jnp.float32), taps, tpu=sum_by_matmul, default=sum_by_gather
    )


def sum_by_matmul(lines: Float[Array, "l n c"], taps: Taps) -> Float[Array, "l m c"]:
    """Sums with a matrix of weights per line, which XLA for TPU computes on the fly."""
    weights: Array = sum(
        jnp.where(index[:, :, None] == jnp.arange(lines.shape[1]), weight[:, :, None], 0.0)
        for index, weight in taps
    )
    return jnp.einsum("lmn,lnc->lmc", weights, lines, precision=jax.lax.Precision.HIGHEST)


def sum_by_gather(lines: Float[Array, "l n c"], taps: Taps) -> Float[Array, "l m c"]:
    """The same as `sum_by_matmul`, by gathering the four neighbours."""
    pick = jax.vmap(lambda line, index: line[index])
    return sum(pick(lines, index) * weight[:, :, None] for index, weight in taps)
