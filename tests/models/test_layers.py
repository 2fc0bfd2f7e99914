"""The transformer's parts against formulas written out in numpy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mgm_jax.models import layers


def test_position_table_is_videomaes():
    table = layers.sincos_position_table(50, 12)
    assert table.dtype == np.float32
    for position in (0, 1, 7, 49):
        for i in range(12):
            angle = position / 10000 ** (2 * (i // 2) / 12)
            expected = math.sin(angle) if i % 2 == 0 else math.cos(angle)
            assert table[position, i] == pytest.approx(expected, abs=1e-7)


def test_position_table_is_exact_far_out():
    table = layers.sincos_position_table(1568, 768)
    assert table[1567, 0] == np.float32(math.sin(1567))
    assert table[1567, 767] == np.float32(math.cos(1567 / 10000 ** (766 / 768)))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def random_queries_keys_values(dtype=jnp.float32, n=7):
    r = np.random.default_rng(0)
    return tuple(jnp.asarray(r.standard_normal((2, n, 3, 8)), dtype) for _ in range(3))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_attention_function_and_its_gradient_are_those_of_jax(dtype):
    qkv = random_queries_keys_values(dtype)

    def attend_and_pull_back(attention):
        out, vjp = jax.vjp(attention, *qkv)
        return out, *vjp(jnp.ones_like(out))

    ours = jax.jit(lambda: attend_and_pull_back(layers.dot_product_attention))()
    theirs = jax.jit(lambda: attend_and_pull_back(jax.nn.dot_product_attention))()
    tolerance = 1e-5 if dtype == jnp.float32 else 0.02
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(
            a.astype(jnp.float32), b.astype(jnp.float32), rtol=tolerance, atol=tolerance
        )


def test_softmax_is_float32_under_bfloat16():
    query, key, value = random_queries_keys_values(jnp.bfloat16, n=64)
    text = str(jax.make_jaxpr(layers.dot_product_attention)(query, key, value))
    assert "f32[2,3,64,64] = exp" in text
    assert "bf16[2,3,64,64] = exp" not in text


def test_an_unknown_attention_is_refused():
    with pytest.raises(ValueError, match="no attention named 'flash'"):
        layers.dot_product_attention(*random_queries_keys_values(), "flash")


def test_flash_attention_does_not_fall_back_silently():
    if jax.default_backend() == "gpu":
        pytest.skip("cuDNN is there")
    with pytest.raises(Exception, match=r"(?i)cudnn|cuda|implementation|platform"):
        layers.dot_product_attention(*random_queries_keys_values(jnp.bfloat16), "cudnn")


def test_attention_layer_against_numpy():
    dim, heads = 12, 3
    module = layers.Attention(heads)
    x = np.random.default_rng(0).standard_normal((2, 5, dim))
    tokens = jnp.asarray(x, jnp.float32)
    variables = module.init(jax.random.key(0), tokens)
    p = jax.tree.map(
        lambda v: np.random.default_rng(v.size).standard_normal(v.shape) * 0.3, variables["params"]
    )
    assert jax.tree.map(np.shape, p) == {
        "qkv": {"kernel": (dim, 3, heads, 4)},
        "q_bias": (heads, 4),
        "v_bias": (heads, 4),
        "proj": {"kernel": (heads, 4, dim), "bias": (dim,)},
    }
    # VideoMAE's own layout: one [3·dim, dim] matrix, bias concatenated with zeros for the keys.
    matrix = p["qkv"]["kernel"].reshape(dim, 3 * dim).T
    bias = np.concatenate([p["q_bias"].ravel(), np.zeros(dim), p["v_bias"].ravel()])
    qkv = (x @ matrix.T + bias).reshape(2, 5, 3, heads, 4).transpose(2, 0, 3, 1, 4)
    weights = softmax(qkv[0] @ qkv[1].transpose(0, 1, 3, 2) / math.sqrt(4))
    attended = (weights @ qkv[2]).transpose(0, 2, 1, 3).reshape(2, 5, dim)
    expected = attended @ p["proj"]["kernel"].reshape(dim, dim) + p["proj"]["bias"]
    params = jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), p)
    actual = module.apply({"params": params}, tokens)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_gelu_is_exact(dtype):
    x = jnp.linspace(-6, 6, 101).astype(dtype)
    expected = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in np.asarray(x, np.float64)]
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == jnp.float32 else {"rtol": 1 / 128}
    actual = layers.exact_gelu(x)
    assert actual.dtype == dtype
    keep = np.asarray(x, np.float64) > -3.5  # below, 1 + erf cancels down to float32's steps
    np.testing.assert_allclose(
        np.asarray(actual, np.float64)[keep], np.array(expected)[keep], **tolerance
    )
    np.testing.assert_allclose(np.asarray(actual, np.float64), expected, atol=0.02)


def test_layer_norm_has_the_epsilon_of_videomae():
    x = 1e-3 * np.random.default_rng(0).standard_normal((2, 3, 16))  # variance near the epsilon
    module = layers.LayerNorm()
    tokens = jnp.asarray(x, jnp.float32)
    normed = module.apply(module.init(jax.random.key(0), tokens), tokens)
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(normed, expected, rtol=1e-4, atol=1e-5)


def test_layer_norm_has_float32_statistics_under_bfloat16():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 512)) + 5, jnp.bfloat16)
    module = layers.LayerNorm(dtype=jnp.bfloat16)
    normed = module.apply(module.init(jax.random.key(0), x), x)
    wide = np.asarray(x, np.float64)
    expected = (wide - wide.mean(-1, keepdims=True)) / wide.std(-1, keepdims=True)
    assert normed.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(normed, np.float64), expected, rtol=1 / 128, atol=1e-3)


def test_linear_layers_start_xavier_uniform_with_videomaes_fans():
    dim = 48
    x = jnp.zeros((1, 2, dim))
    params = jax.jit(layers.Block(heads=4).init)(jax.random.key(0), x)["params"]
    fans = {
        ("attention", "qkv"): (dim, 3 * dim),
        ("attention", "proj"): (dim, dim),
        ("mlp", "fc1"): (dim, 4 * dim),
        ("mlp", "fc2"): (4 * dim, dim),
    }
    for (module, layer), (fan_in, fan_out) in fans.items():
        kernel = np.asarray(params[module][layer]["kernel"])
        bound = math.sqrt(6 / (fan_in + fan_out))
        assert kernel.size == fan_in * fan_out
        assert 0.99 * bound < np.abs(kernel).max() <= bound
        assert kernel.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    for name in ("q_bias", "v_bias"):
        assert not np.any(params["attention"][name])
    assert not np.any(params["mlp"]["fc1"]["bias"])
    assert np.all(np.asarray(params["norm1"]["scale"]) == 1)


def test_drop_path_leaves_out_whole_clips_and_keeps_the_mean():
    block = layers.Block(heads=2)
    x = jnp.asarray(np.random.default_rng(1).standard_normal((1, 3, 8)), jnp.float32)
    variables = jax.jit(block.init)(jax.random.key(0), x)
    many = jnp.repeat(x, 400, axis=0)
    drop_path = layers.DropPath(jnp.float32(0.5), jax.random.key(1))
    out = jax.jit(block.apply)(variables, many, drop_path)
    distinct = np.unique(np.asarray(out).round(4), axis=0)
    assert len(distinct) == 4  # each of the two branches is there, doubled, or not
    assert any(np.allclose(one, x[0], atol=1e-4) for one in distinct)
    attention_only = np.asarray(out - many).std(axis=(1, 2)) == 0
    assert 0.15 < attention_only.mean() < 0.35


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_drop_path_keeps_the_type(dtype):
    drop_path = layers.DropPath(jnp.float32(0.2), jax.random.key(1))
    dropped = drop_path(0, jnp.ones((50, 2, 3), dtype))
    assert dropped.dtype == dtype
    assert set(np.unique(dropped.astype(jnp.float32))) == {0.0, float(dtype(1) / dtype(0.8))}
    assert not np.array_equal(dropped, drop_path(1, jnp.ones((50, 2, 3), dtype)))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_mask_hides_keys_as_in_jax(dtype):
    qkv = random_queries_keys_values(dtype)
    mask = jnp.asarray(np.random.default_rng(1).random((2, 1, 7, 7)) < 0.4) | jnp.eye(7, dtype=bool)

    def attend_and_pull_back(attention):
        out, vjp = jax.vjp(lambda *qkv: attention(*qkv, mask=mask), *qkv)
        return out, *vjp(jnp.ones_like(out))

    ours = jax.jit(lambda: attend_and_pull_back(layers.dot_product_attention))()
    theirs = jax.jit(lambda: attend_and_pull_back(jax.nn.dot_product_attention))()
    tolerance = 1e-5 if dtype == jnp.float32 else 0.02
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(
            a.astype(jnp.float32), b.astype(jnp.float32), rtol=tolerance, atol=tolerance
        )
    weights = np.asarray(layers.attention_weights(*qkv[:2], mask))
    assert np.all(weights[np.broadcast_to(~mask, weights.shape)] == 0)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
