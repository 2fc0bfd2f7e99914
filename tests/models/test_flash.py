"""The choice of attention, meshes, and a TPU's kernel, emulated, against the formula."""

import functools

import jax
import jax.numpy as jnp
import pytest
from attention_arrays import assert_close, random_arrays, value_and_gradients
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

from mgm_jax.errors import ConfigError
from mgm_jax.models.attention import Attention, chunked_attention, dot_product_attention
from mgm_jax.models.flash import choose, splash_attention
from mgm_jax.models.layers import TransformerConfig
from mgm_jax.training import sharding

emulated = functools.partial(splash_attention, interpret=True)


def on(platform, kind=""):
    """A context in which functions are traced for one device of a platform."""
    device = jax.sharding.AbstractDevice(device_kind=kind, num_cores=None, platform=platform)
    mesh = AbstractMesh((1, 1, 1), sharding.AXES, (AxisType.Auto,) * 3, abstract_device=device)
    return jax.sharding.use_abstract_mesh(mesh)


@pytest.mark.parametrize(
    ("dtype", "n", "m", "head_dim"),
    [
        (jnp.float32, 128, 128, 64),  # ViT-S, B and L.
        (jnp.float32, 131, 131, 80),  # ViT-H.
        (jnp.bfloat16, 131, 257, 80),
    ],
    ids=["whole blocks", "odd tokens", "bfloat16"],
)
def test_splash_attention_is_the_formula(dtype, n, m, head_dim):
    arrays = random_arrays(dtype, n, m, clips=2, head_dim=head_dim)
    ours, expected = (
        value_and_gradients(attention)(*arrays)
        for attention in (emulated, functools.partial(dot_product_attention, implementation="xla"))
    )
    assert_close(ours, expected, 1e-5 if dtype == jnp.float32 else 0.02)


@pytest.mark.parametrize("sizes", [(4, 1, 2), (1, 8, 1), (2, 1, 4)], ids=str)
@pytest.mark.parametrize(
    "attention",
    [emulated, functools.partial(chunked_attention, chunk_size=8)],
    ids=["splash", "chunked"],
)
def test_every_mesh_gives_what_one_device_does_without_moving_the_tokens(attention, sizes):
    arrays = random_arrays(jnp.float32, 21, 21, clips=8, heads=6)
    compute = value_and_gradients(attention)
    expected = compute(*arrays)
    mesh = sharding.make_mesh(dict(zip(sharding.AXES, sizes, strict=True)))
    # Four devices cannot share six heads: each computes all.
    across = None if sizes[2] == 4 else "tensor"
    place = NamedSharding(mesh, PartitionSpec(("data", "fsdp"), None, across))
    compiled = jax.jit(sharding.on_mesh(compute, mesh), in_shardings=place).lower(*arrays).compile()
    if across:
        for operation in ("all-gather", "all-to-all", "all-reduce", "collective-permute"):
            assert operation not in compiled.as_text(), operation
    assert_close(compiled(*jax.device_put(arrays, place)), expected, 1e-5)


@pytest.mark.parametrize(
    ("platform", "kind", "tokens", "head_dim", "dtype", "masked", "chosen"),
    [
        ("tpu", "TPU v5 lite", 1568, 64, "bfloat16", False, "splash"),
        ("tpu", "TPU v5 lite", 1567, 80, "float32", False, "splash"),
        ("tpu", "TPU v5 lite", 392, 64, "bfloat16", True, "xla"),
        ("tpu", "TPU v5 lite", 8, 64, "bfloat16", False, "xla"),
        ("gpu", "NVIDIA H100 80GB HBM3", 1568, 64, "bfloat16", False, "cudnn"),
        ("gpu", "NVIDIA H100 80GB HBM3", 392, 80, "bfloat16", True, "cudnn"),
        ("gpu", "NVIDIA H100 80GB HBM3", 391, 64, "bfloat16", True, "xla"),
        ("gpu", "NVIDIA H100 80GB HBM3", 245, 64, "bfloat16", False, "xla"),
        ("gpu", "NVIDIA H100 80GB HBM3", 1568, 64, "float32", False, "xla"),
        ("gpu", "NVIDIA H100 80GB HBM3", 1568, 36, "bfloat16", False, "xla"),
        ("gpu", "AMD Instinct MI300X", 1568, 64, "bfloat16", False, "xla"),
        ("cpu", "cpu", 1568, 64, "float32", False, "chunked"),
        ("cpu", "cpu", 1568, 64, "float32", True, "chunked"),
        ("cpu", "cpu", 256, 32, "bfloat16", False, "xla"),
    ],
)
def test_the_choice(platform, kind, tokens, head_dim, dtype, masked, chosen):
    query = jnp.zeros((1, tokens, 1, head_dim), dtype)
    with on(platform, kind):
        assert choose("auto", query, masked) == chosen


@pytest.mark.parametrize(
    ("attention", "platform", "dtype", "said"),
    [
        ("cudnn", "cpu", "bfloat16", "runs on NVIDIA GPUs, and this is cpu"),
        ("cudnn", "gpu", "float32", "config.model.dtype is float32"),
        ("splash", "gpu", "bfloat16", "runs on TPUs, and this is gpu"),
        ("flash", "cpu", "float32", "config.model.attention=flash does not exist"),
    ],
)
def test_a_wrong_choice_is_refused_when_the_state_is_described(attention, platform, dtype, said):
    config = TransformerConfig(16, 1, 2, dtype=dtype, attention=attention)
    init = functools.partial(Attention(config).init, jax.random.key(0), jnp.zeros((1, 4, 16)))
    with on(platform), pytest.raises(ConfigError) as refusal:
        jax.eval_shape(init)
    assert said in str(refusal.value)
    assert "--config.model.attention=auto" in str(refusal.value)
