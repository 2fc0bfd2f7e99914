"""Counting and looking up; `test_rand_augment.py` compares the operations with Pillow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mgm_jax.preprocessing import tables
from tests.preprocessing import images

UNCHANGED = jnp.broadcast_to(jnp.arange(tables.VALUES) % 256, (2, 3, tables.VALUES))


def to_rows(frames):
    return jnp.asarray(frames, jnp.int32).transpose(0, 3, 1, 2).reshape(2 * 3, -1)


def count(frames):
    return tables.count_by_scatter(to_rows(frames)).reshape(2, 3, -1)


def pixels(table, frames):
    rows = tables.look_up(table.reshape(6, -1), to_rows(frames))
    return np.asarray(rows).reshape(2, 3, *frames.shape[1:3]).transpose(0, 2, 3, 1)


def test_levels_are_counted_and_looked_up():
    rows = np.random.default_rng(0).integers(0, tables.VALUES, (6, 1000))
    new = images.noise((6, tables.VALUES), seed=1)
    levels, table = jnp.asarray(rows, jnp.int32), jnp.asarray(new, jnp.int32)
    expected = np.stack([np.bincount(row, minlength=tables.VALUES) for row in rows])
    for function in (tables.count_levels, tables.count_by_scatter, tables.count_by_matmul):
        np.testing.assert_array_equal(jax.jit(function)(levels), expected)
    expected = np.take_along_axis(new, rows, axis=1)
    for function in (tables.look_up, tables.look_up_by_gather, tables.look_up_by_matmul):
        np.testing.assert_array_equal(jax.jit(function)(table, levels), expected)


def test_counting_by_products_is_exact_for_large_counts():
    levels = jnp.full((1, 50_177), 200, jnp.int32).at[0, 0].set(3)
    counts = np.asarray(tables.count_by_matmul(levels))
    assert counts[0, 200] == 50_176
    assert counts[0, 3] == 1


@pytest.mark.parametrize("second", [tables.equalize, tables.auto_contrast])
def test_a_composed_table_is_one_operation_after_the_other(second):
    frames = images.smooth(2, 20, 30)
    counts, second = count(frames), jax.jit(second)
    for first in (
        jax.jit(tables.equalize)(UNCHANGED, counts),
        jax.jit(tables.auto_contrast)(UNCHANGED, counts),
        UNCHANGED >> 5 << 5,
        jnp.where(UNCHANGED < 110, UNCHANGED, 255 - UNCHANGED),
    ):
        composed = pixels(second(first, counts), frames)
        between = pixels(first, frames).astype(np.uint8)
        np.testing.assert_array_equal(composed, pixels(second(UNCHANGED, count(between)), between))
