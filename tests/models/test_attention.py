"""Attention, plain and in chunks, against JAX's own: values, gradients, memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attention_arrays import assert_close, random_arrays, value_and_gradients

from mgm_jax.models.attention import (
    CHUNK_SIZE,
    attention_weights,
    chunked_attention,
    dot_product_attention,
)


def random_mask(n, m):
    mask = np.random.default_rng(1).random((4, 1, n, m)) < 0.4
    return jnp.asarray(mask | (np.arange(m) == 0))


@pytest.mark.parametrize(
    ("n", "m", "masked", "dtype"),
    [
        (10, 10, False, jnp.float32),
        (13, 13, True, jnp.float32),
        (13, 13, True, jnp.bfloat16),
        (3, 17, True, jnp.float32),
    ],
    ids=["whole chunks", "a rest, masked", "in bfloat16", "one chunk, other keys"],
)
def test_values_and_gradients_are_those_of_jax(n, m, masked, dtype):
    arrays = random_arrays(dtype, n, m)
    if dtype == jnp.float32:
        # Scores up to hundreds: their exponentials overflow unless the largest is taken off first.
        arrays = (arrays[0] * 40, *arrays[1:])
    mask = random_mask(n, m) if masked else None
    plain, chunked, expected = (
        value_and_gradients(lambda *qkv, f=function: f(*qkv, mask=mask))(*arrays)
        for function in (
            dot_product_attention,
            functools.partial(chunked_attention, chunk_size=5),
            jax.nn.dot_product_attention,
        )
    )
    tolerance = 3e-5 if dtype == jnp.float32 else 0.02
    assert_close(plain, expected, tolerance)
    assert_close(chunked, expected, tolerance)
    weights = attention_weights(*arrays[:2], mask)
    assert weights.dtype == jnp.float32
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)


def test_the_weights_of_all_queries_are_never_there_at_once():
    count = 8 * CHUNK_SIZE
    arrays = random_arrays(jnp.float32, count, count, clips=1)
    memory = {}
    for name in ("xla", "chunked"):
        compute = value_and_gradients(lambda *qkv, name=name: dot_product_attention(*qkv, name))
        compiled = compute.lower(*arrays).compile()
        memory[name] = compiled.memory_analysis().temp_size_in_bytes
    all_weights = 4 * 2 * count**2
    assert memory["xla"] >= all_weights
    assert memory["chunked"] < all_weights / 2
