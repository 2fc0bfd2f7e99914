"""The transformer's configuration, and its layers against formulas written out in numpy."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mgm_jax.errors import ConfigError
from mgm_jax.models import layers


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ConfigError, match="100 does not divide into 6 heads"):
        layers.TransformerConfig(100, 1, 6)


def test_position_table_is_videomaes():
    table = layers.sincos_position_table(1568, 768)
    assert table.dtype == np.float32
    for position in (0, 1, 49, 1567):
        for i in (0, 1, 2, 301, 766, 767):
            angle = position / 10000 ** (2 * (i // 2) / 768)
            assert table[position, i] == np.float32((math.cos if i % 2 else math.sin)(angle))


def test_positions_by_axis_are_v_jepas():
    dim, grid = 128, (2, 3, 4)
    table = layers.axes_position_table(grid, dim).reshape(*grid, dim)
    for t, h, w in ((0, 0, 0), (1, 2, 3), (1, 0, 2)):
        expected = [
            function(place / 10000 ** (i / 22))
            for place in (t, h, w)
            for function in (math.sin, math.cos)
            for i in range(22)
        ]
        np.testing.assert_allclose(table[t, h, w], expected[:dim], atol=1e-6)


def test_positions_are_those_of_the_config():
    grid, config = (2, 3, 4), layers.TransformerConfig(24, 1, 2)
    tables = {
        "sincos": layers.sincos_position_table(24, 24),
        "sincos_axes": layers.axes_position_table(grid, 24),
    }
    assert (tables["sincos"] != tables["sincos_axes"]).any()
    for positions, table in tables.items():
        chosen = dataclasses.replace(config, positions=positions)
        np.testing.assert_array_equal(layers.fixed_positions(chosen, grid), table)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_gelu_is_exact(dtype):
    x = jnp.linspace(-6, 6, 101).astype(dtype)
    expected = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in np.asarray(x, np.float64)]
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == jnp.float32 else {"rtol": 1 / 128}
    actual = layers.exact_gelu(x)
    assert actual.dtype == dtype
    actual = np.asarray(actual, np.float64)
    np.testing.assert_allclose(actual, expected, atol=0.02)
    keep = slice(21, None)  # Below -3.5, 1 + erf cancels down to float32's steps.
    np.testing.assert_allclose(actual[keep], expected[keep], **tolerance)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_derivative_of_gelu(dtype):
    x = jnp.linspace(-6, 6, 101).astype(dtype)
    wide = np.asarray(x, np.float64)
    expected = [
        (1 + math.erf(v / 2**0.5)) / 2 + v * math.exp(-(v**2) / 2) / (2 * math.pi) ** 0.5
        for v in wide
    ]
    tolerance = {"atol": 1e-6} if dtype == jnp.float32 else {"rtol": 1 / 128, "atol": 1e-3}
    actual = jax.grad(lambda x: layers.exact_gelu(x).astype(jnp.float32).sum())(x)
    assert actual.dtype == dtype
    np.testing.assert_allclose(np.asarray(actual, np.float64), expected, **tolerance)


def test_the_backward_pass_of_gelu_keeps_its_input_and_result_only():
    """Erf is computed again; kept, it would be as large as the input."""
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in [(512, 64), (2, 64, 256), (2, 256, 64)]]

    def loss(x, up, down):
        for one, other in zip(up, down, strict=True):
            x = layers.exact_gelu(x @ one) @ other
        return x.sum()

    text = jax.jit(jax.grad(loss, argnums=(1, 2))).lower(*shapes).compile().as_text()
    assert text.count(" erf(") == 4  # Of two layers, forward and backward.


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_layer_norm_has_the_epsilon_of_videomae_and_float32_statistics(dtype):
    # Variances near the epsilon in float32, and a mean in bfloat16 that its sums would lose.
    x = np.random.default_rng(0).standard_normal((2, 3, 512))
    x = jnp.asarray(1e-3 * x if dtype == jnp.float32 else x + 5, dtype)
    module = layers.LayerNorm(dtype=dtype)
    normed = module.apply(module.init(jax.random.key(0), x), x)
    wide = np.asarray(x, np.float64)
    variance = wide.var(-1, keepdims=True)
    expected = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(variance + 1e-6)
    assert normed.dtype == dtype
    tolerance = 1e-4 if dtype == jnp.float32 else 1 / 128
    np.testing.assert_allclose(np.asarray(normed, np.float64), expected, rtol=tolerance, atol=1e-3)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_drop_path_zeroes_whole_clips_and_scales_the_others(dtype):
    drop_path = layers.DropPath(jnp.float32(0.2), jax.random.key(1))
    ones = jnp.ones((50, 2, 3), dtype)
    dropped = drop_path(0, ones)
    assert dropped.dtype == dtype
    assert set(np.unique(dropped.astype(jnp.float32))) == {0.0, float(dtype(1) / dtype(0.8))}
    assert np.all(dropped == dropped[:, :1, :1])
    assert 0.05 < np.mean(dropped == 0) < 0.4
    assert not np.array_equal(dropped, drop_path(1, ones))
    assert layers.DropPath()(0, ones) is ones


def test_drop_path_keeps_the_mean_in_bfloat16():
    y = jax.random.uniform(jax.random.key(0), (1, 64, 1024), jnp.bfloat16)
    kept = layers.DropPath(jnp.float32(0.05), jax.random.key(0))(0, y)
    means = [float(jnp.mean(clip.astype(jnp.float32))) for clip in (kept, y)]
    assert means[0] / means[1] == pytest.approx(1 / 0.95, rel=2e-4)
