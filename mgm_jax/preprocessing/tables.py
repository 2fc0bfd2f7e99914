"""Pillow's point operations as tables of 256 new levels, one table per frame and channel.

Every operation takes the `tables` of all operations before it and returns the tables that include
it. What it needs to know of the image, such as the darkest level, follows from `counts`: how often
each level occurs in the original image. So pixels are counted once and looked up once, however many
operations there are.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mgm_jax.preprocessing.enhance import GREY_WEIGHTS, blend

LEVELS = 256
VALUES = LEVELS + 16
"""Values of a pixel: its level, or 256 plus the number of the operation that fills it with grey."""

_DIGITS = 16  # A value as two base-16 digits; one-hot, they make small matrix products.


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
    grey = (means * jnp.array(GREY_WEIGHTS) / 65536).sum(axis=-1)
    grey = jnp.floor(grey + 0.5)[..., None, None]
    return blend_levels(grey, tables, factor)


def blend_levels(
    degenerate: Float[Array, "*#shape"], tables: Int[Array, "*shape"], factor: Float[Array, ""]
) -> Int[Array, "*shape"]:
    """`enhance.blend` of levels; from black (0.0) it is `ImageEnhance.Brightness`."""
    return blend(degenerate, tables.astype(jnp.float32), factor).astype(jnp.int32)
