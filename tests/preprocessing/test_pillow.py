"""Counting and looking up; `test_rand_augment.py` compares the operations with Pillow."""

import jax
import jax.numpy as jnp
import numpy as np

from mgm_jax.preprocessing import pillow
from tests.preprocessing import images


def test_levels_are_counted_and_looked_up():
    rows = np.random.default_rng(0).integers(0, pillow.VALUES, (6, 1000))
    new = images.noise((6, pillow.VALUES), seed=1)
    levels, table = jnp.asarray(rows, jnp.int32), jnp.asarray(new, jnp.int32)
    expected = np.stack([np.bincount(row, minlength=pillow.VALUES) for row in rows])
    for function in (pillow.count_levels, pillow.count_by_scatter, pillow.count_by_matmul):
        np.testing.assert_array_equal(jax.jit(function)(levels), expected)
    expected = np.take_along_axis(new, rows, axis=1)
    for function in (pillow.look_up, pillow.look_up_by_gather, pillow.look_up_by_matmul):
        np.testing.assert_array_equal(jax.jit(function)(table, levels), expected)


def test_counting_by_products_is_exact_for_large_counts():
    levels = jnp.full((1, 50_177), 200, jnp.int32).at[0, 0].set(3)
    counts = np.asarray(pillow.count_by_matmul(levels))
    assert counts[0, 200] == 50_176
    assert counts[0, 3] == 1
