"""The two ways of summing; `test_rand_augment.py` compares warps with Pillow's."""

import jax
import jax.numpy as jnp
import numpy as np

from mgm_jax.preprocessing import warp


def test_the_two_ways_of_summing_agree():
    r = np.random.default_rng(0)
    lines = jnp.asarray(r.random((5, 9, 4)), jnp.float32)
    taps = [
        (jnp.asarray(r.integers(0, 9, (5, 6))), jnp.asarray(r.random((5, 6)), jnp.float32))
        for _ in range(4)
    ]
    by_matmul = jax.jit(warp.sum_by_matmul)(lines, taps)
    by_gather = jax.jit(warp.sum_by_gather)(lines, taps)
    np.testing.assert_allclose(by_matmul, by_gather, atol=1e-5)
