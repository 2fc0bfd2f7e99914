"""The two ways of interpolating; `test_rand_augment.py` compares warps with Pillow's."""

import jax
import jax.numpy as jnp
import numpy as np

from mgm_jax.preprocessing import warp


def test_the_two_ways_of_interpolating_agree():
    r = np.random.default_rng(0)
    lines = jnp.asarray(r.random((5, 9, 4)), jnp.float32)
    positions = jnp.asarray(
        np.concatenate([r.uniform(0, 8, (5, 6)), np.tile([0, 3, 8], (5, 1))], 1)
    )
    by_matmul = jax.jit(warp.interpolate_by_matmul)(lines, positions)
    by_gather = jax.jit(warp.interpolate_by_gather)(lines, positions)
    np.testing.assert_allclose(by_matmul, by_gather, atol=1e-6)
    expected = [
        [np.interp(p, np.arange(9), lines[i, :, c]) for c in range(4)]
        for i in range(5)
        for p in positions[i]
    ]
    np.testing.assert_allclose(by_gather.reshape(-1, 4), expected, atol=1e-6)
