"""Arrays for attention, and comparisons of its implementations."""

import jax
import jax.numpy as jnp
import numpy as np


def random_arrays(dtype, n, m, clips=4, heads=2, head_dim=8):
    """Queries, keys, values and the gradient of the output."""
    r = np.random.default_rng(0)
    shapes = [(clips, count, heads, head_dim) for count in (n, m, m, n)]
    return tuple(jnp.asarray(r.standard_normal(shape), dtype) for shape in shapes)


def value_and_gradients(attention):
    def compute(query, key, value, gradient):
        out, pull_back = jax.vjp(attention, query, key, value)
        return out, *pull_back(gradient)

    return jax.jit(compute)


def assert_close(ours, theirs, tolerance, message=""):
    for one, two in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert one.dtype == two.dtype
        one, two = (np.asarray(x.astype(jnp.float32)) for x in (one, two))
        scale = np.abs(two).max()
        np.testing.assert_allclose(one, two, atol=tolerance * scale, rtol=0, err_msg=message)
