"""Pillow's operations on levels 0 to 255.

Point operations are tables of 256 new levels, one per frame and channel. Each takes the `tables` of
all operations before it and returns the tables that include it. What it needs to know of the image,
such as the darkest level, follows from `counts`: how often each level occurs in the original image.
So pixels are counted once and looked up once, however many operations there are.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

LEVELS = 256
VALUES = LEVELS + 16
"""Values of a pixel: its level, or 256 plus the number of the operation that fills it with grey."""

_DIGITS = 16  # A value as two base-16 digits; one-hot, they make small matrix products.

# ITU-R 601 luma weights of R, G and B in 1/65536, as Pillow has them.
_GREY_WEIGHTS = (19595, 38470, 7471)


def count_levels(levels: Int[Array, "r n"]) -> Int[Array, "r v"]:
    """Counts how often each value occurs in each row of pixels."""
    return jax.lax.platform_dependent(levels, tpu=count_by_matmul, default=count_by_scatter)


def look_up(tables: Int[Array, "r v"], levels: Int[Array, "r n"]) -> Int[Array, "r n"]:
    """Replaces the levels of each row of pixels by those of its table."""
    return jax.lax.platform_dependent(
        tables, levels, tpu=look_up_by_matmul, default=look_up_by_gather
    )


def count_by_scatter(levels: Int[Array, "r n"]) -> Int[Array, "r v"]:
    """`count_levels` for CPU and GPU."""
    counts = jnp.zeros((len(levels), VALUES), jnp.int32)
    return counts.at[jnp.arange(len(levels))[:, None], levels].add(1)


def count_by_matmul(levels: Int[Array, "r n"]) -> Int[Array, "r v"]:
    """`count_levels` for TPUs, where a scatter adds one pixel at a time."""
    high, low = _one_hot_digits(levels, axis=2)
    counts = jnp.einsum("rnh,rnl->rhl", high, low, preferred_element_type=jnp.float32)
    return counts.astype(jnp.int32).reshape(-1, VALUES)


def look_up_by_gather(tables: Int[Array, "r v"], levels: Int[Array, "r n"]) -> Int[Array, "r n"]:
    """`look_up` for CPU and GPU."""
    return jax.vmap(lambda table, row: table[row])(tables, levels)


def look_up_by_matmul(tables: Int[Array, "r v"], levels: Int[Array, "r n"]) -> Int[Array, "r n"]:
    """`look_up` for TPUs, where a gather takes one pixel at a time; bfloat16 is exact to 255."""
    high, low = _one_hot_digits(levels, axis=1)
    squares = tables.astype(jnp.bfloat16).reshape(len(tables), -1, _DIGITS)
    columns = jnp.einsum("rhn,rhl->rln", high, squares, preferred_element_type=jnp.float32)
    return (columns * low).sum(axis=1).astype(jnp.int32)


def _one_hot_digits(levels: Int[Array, "r n"], axis: int) -> tuple[Array, Array]:
    high = jax.nn.one_hot(levels // _DIGITS, VALUES // _DIGITS, axis=axis, dtype=jnp.bfloat16)
    return high, jax.nn.one_hot(levels % _DIGITS, _DIGITS, axis=axis, dtype=jnp.bfloat16)


def auto_contrast(tables: Int[Array, "*r v"], counts: Int[Array, "*r v"]) -> Int[Array, "*r v"]:
    """Stretches the levels that occur to 0 to 255; `ImageOps.autocontrast`."""
    darkest = jnp.where(counts > 0, tables, LEVELS).min(axis=-1, keepdims=True)
    brightest = jnp.where(counts > 0, tables, -1).max(axis=-1, keepdims=True)
    span = brightest - darkest
    stretched = (tables - darkest) * 255 // jnp.maximum(span, 1)
    return jnp.where(span > 0, jnp.clip(stretched, 0, 255), tables)


def equalize(tables: Int[Array, "*r v"], counts: Int[Array, "*r v"]) -> Int[Array, "*r v"]:
    """Makes all levels about equally frequent; `ImageOps.equalize`."""
    brightest = jnp.where(counts > 0, tables, -1).max(axis=-1, keepdims=True)
    darker_than_brightest = jnp.where(tables < brightest, counts, 0).sum(axis=-1, keepdims=True)
    step = darker_than_brightest // 255
    is_darker = tables[..., None, :] < tables[..., :, None]
    darker = jnp.where(is_darker, counts[..., None, :], 0).sum(axis=-1)
    spread = (step // 2 + darker) // jnp.maximum(step, 1)
    return jnp.where(step > 0, jnp.minimum(spread, 255), tables)


def contrast(
    tables: Int[Array, "*r 3 v"], counts: Int[Array, "*r 3 v"], factor: Float[Array, ""]
) -> Int[Array, "*r 3 v"]:
    """Changes the contrast around the mean grey (`ImageEnhance.Contrast`): 0 is grey."""
    pixels = jnp.maximum(counts.sum(axis=-1), 1)
    means = (tables * counts).sum(axis=-1) / pixels
    grey = (means * jnp.array(_GREY_WEIGHTS) / 65536).sum(axis=-1)
    grey = jnp.floor(grey + 0.5)[..., None, None]
    return blend_levels(grey, tables, factor)


def blend_levels(
    degenerate: Float[Array, "*#shape"], tables: Int[Array, "*shape"], factor: Float[Array, ""]
) -> Int[Array, "*shape"]:
    """`blend` of levels; from black (0.0) it is `ImageEnhance.Brightness`."""
    return blend(degenerate, tables.astype(jnp.float32), factor).astype(jnp.int32)


def blend(
    degenerate: Float[Array, "*#shape"], image: Float[Array, "*#shape"], factor: Float[Array, ""]
) -> Float[Array, "*shape"]:
    """Interpolates from the degenerate image (factor 0) to the image (1), or beyond.

    Clipped to 0 to 255 and rounded down, as Pillow's `Image.blend` does.
    """
    return jnp.floor(jnp.clip(degenerate + factor * (image - degenerate), 0.0, 255.0))


def saturate(frames: Float[Array, "*b 3"], factor: Float[Array, ""]) -> Float[Array, "*b 3"]:
    """Changes the saturation of RGB levels (`ImageEnhance.Color`): 0 is grey, 1 is unchanged."""
    grey = frames.astype(jnp.int32) * jnp.array(_GREY_WEIGHTS)
    grey = (grey.sum(axis=-1, keepdims=True) + 0x8000) >> 16
    return blend(grey.astype(frames.dtype), frames, factor)


def sharpen(frames: Float[Array, "T H W c"], factor: Float[Array, ""]) -> Float[Array, "T H W c"]:
    """Changes the sharpness (`ImageEnhance.Sharpness`): 0 is smooth, 1 is unchanged.

    Pixels on the frame's border are not smoothed.
    """
    inner = frames[:, 1:-1, 1:-1]
    sums = frames[:, :-2] + frames[:, 1:-1] + frames[:, 2:]
    sums = sums[:, :, :-2] + sums[:, :, 1:-1] + sums[:, :, 2:]
    smooth = jnp.floor((sums + 4.0 * inner) / 13.0 + 0.5)
    degenerate = jax.lax.dynamic_update_slice(frames, smooth, (0, 1, 1, 0))
    return blend(degenerate, frames, factor)
