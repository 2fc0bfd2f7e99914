"""Attention in chunks against the formula written out: values, gradients, meshes, memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mgm_jax.models import layers
from mgm_jax.models.blocks import Blocks
from mgm_jax.models.chunked_attention import QUERIES_AT_ONCE, chunked_attention
from mgm_jax.training import sharding


def random_arrays(dtype, n, m, clips=4, heads=2, head_dim=8):
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


@pytest.mark.parametrize(
    ("n", "m", "size", "masked", "dtype"),
    [
        (12, 12, 4, False, jnp.float32),
        (13, 13, 5, True, jnp.float32),
        (13, 13, 5, True, jnp.bfloat16),
        (3, 17, 5, True, jnp.float32),
    ],
    ids=["whole blocks", "a rest, masked", "in bfloat16", "one block, other keys"],
)
def test_values_and_gradients_are_those_of_the_formula(n, m, size, masked, dtype):
    arrays = random_arrays(dtype, n, m)
    if dtype == jnp.float32:
        # Scores up to hundreds: their exponentials overflow unless the largest is taken off first.
        arrays = (arrays[0] * 40, *arrays[1:])
    mask = None
    if masked:
        mask = np.random.default_rng(1).random((4, 1, n, m)) < 0.4
        mask = jnp.asarray(mask | (np.arange(m) == 0))
    ours = value_and_gradients(lambda *qkv: chunked_attention(*qkv, mask, size))(*arrays)
    theirs = value_and_gradients(lambda *qkv: layers.dot_product_attention(*qkv, mask=mask))(
        *arrays
    )
    assert_close(ours, theirs, 3e-5 if dtype == jnp.float32 else 0.02)


def test_every_mesh_gives_what_one_device_does_without_moving_the_tokens():
    arrays = random_arrays(jnp.float32, 21, 21, clips=8, heads=4)
    compute = value_and_gradients(lambda *qkv: chunked_attention(*qkv, queries_at_once=8))
    expected = compute(*arrays)
    for sizes in ((8, 1, 1), (1, 8, 1), (2, 2, 2), (2, 1, 4)):
        mesh = sharding.make_mesh(dict(zip(sharding.AXES, sizes, strict=True)))
        rows = sharding.batch_sharding(mesh).spec[0]
        place = NamedSharding(mesh, PartitionSpec(rows, None, "tensor", None))
        compiled = jax.jit(compute, in_shardings=place).lower(*arrays).compile()
        for operation in ("all-gather", "all-to-all", "all-reduce", "collective-permute"):
            assert operation not in compiled.as_text(), (sizes, operation)
        assert_close(compiled(*jax.device_put(arrays, place)), expected, 1e-5, str(sizes))


def test_a_scanned_stack_with_remat_and_vmap_computes_what_the_formula_does():
    tokens = jnp.asarray(np.random.default_rng(0).standard_normal((2, 2, 400, 8)), jnp.float32)
    assert tokens.shape[2] > QUERIES_AT_ONCE  # A turn of the loop, and a rest.

    def make_loss(attention, **options):
        blocks = Blocks(depth=1, heads=2, attention=attention, scan=True, **options)

        def loss(params, tokens):
            return jnp.square(jax.vmap(lambda x: blocks.apply(params, x))(tokens)).mean()

        return blocks, jax.jit(jax.value_and_grad(loss))

    blocks, compute = make_loss("xla")
    params = jax.jit(blocks.init)(jax.random.key(0), tokens[0])
    expected = compute(params, tokens)
    ours = make_loss("chunked", remat="dots")[1](params, tokens)
    assert_close(ours, expected, 1e-4)


def test_the_weights_of_all_queries_are_never_there_at_once():
    arrays = random_arrays(jnp.float32, 3136, 3136, clips=1)
    memory = {}
    for name in ("xla", "chunked"):
        compute = value_and_gradients(
            lambda *qkv, name=name: layers.dot_product_attention(*qkv, name)
        )
        compiled = compute.lower(*arrays).compile()
        memory[name] = compiled.memory_analysis().temp_size_in_bytes
    all_weights = 4 * 2 * 3136**2
    assert memory["xla"] >= all_weights
    assert memory["chunked"] < all_weights / 2
