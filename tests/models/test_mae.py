"""The autoencoder against numpy, and what must hold of any masked autoencoder."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import GRID, TOKENS, TUBELET, autoencoder, clips, ids, random_params

from mgm_jax.models import mae, vit
from mgm_jax.models import patches as patches_lib
from mgm_jax.models.layers import BACKBONES, TransformerConfig, sincos_position_table
from mgm_jax.training import losses


def make(**options):
    """A model, a function that makes its predictions, and its parameters."""
    model = autoencoder(**options)
    return model, jax.jit(model.apply), {"params": random_params(model, clips(), *ids())}


def dense(x, p):
    kernel = p["kernel"].reshape(x.shape[-1], -1)
    return x @ kernel + p.get("bias", 0.0)


def layer_norm(x, p):
    variance = x.var(-1, keepdims=True)
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(variance + 1e-6) * p["scale"] + p["bias"]


def block(x, p, heads=2):
    y = layer_norm(x, p["norm1"])
    q, k, v = np.split(dense(y, p["attention"]["qkv"]), 3, axis=-1)
    q, v = q + p["attention"]["q_bias"].ravel(), v + p["attention"]["v_bias"].ravel()
    attended = []
    for head in np.split(np.arange(q.shape[-1]), heads):
        e = np.exp(q[:, head] @ k[:, head].T / math.sqrt(len(head)))
        attended.append(e / e.sum(-1, keepdims=True) @ v[:, head])
    x = x + dense(np.concatenate(attended, axis=-1), p["attention"]["proj"])
    y = dense(layer_norm(x, p["norm2"]), p["mlp"]["fc1"])
    y = y * 0.5 * (1 + np.vectorize(math.erf)(y / math.sqrt(2)))
    return x + dense(y, p["mlp"]["fc2"])


def reference(p, patches, visible, masked):
    """VideoMAE's forward pass of one clip in numpy: loops over heads and blocks."""
    table = sincos_position_table(TOKENS, 16).astype(np.float64)
    x = dense(patches[visible], p["encoder"]["embed"]) + table[visible]
    for i in range(2):
        x = block(x, p["encoder"]["blocks"][str(i)])
    x = dense(layer_norm(x, p["encoder"]["norm"]), p["encoder_to_decoder"])
    table = sincos_position_table(TOKENS, 8).astype(np.float64)
    x = np.concatenate([x + table[visible], p["mask_token"] + table[masked]])
    x = block(x, p["decoder"]["blocks"]["0"])
    return dense(layer_norm(x[-len(masked) :], p["decoder"]["norm"]), p["decoder"]["head"])


def test_forward_pass_against_numpy():
    _, predict, variables = make()
    visible, masked = ids()
    predictions = predict(variables, clips(), visible, masked)
    assert predictions.shape == (2, 8, 96)
    params = jax.tree.map(lambda v: np.asarray(v, np.float64), variables["params"])
    patches = np.asarray(patches_lib.patchify(clips(), TUBELET), np.float64)
    for i in range(2):
        expected = reference(params, patches[i], np.asarray(visible[i]), np.asarray(masked[i]))
        np.testing.assert_allclose(predictions[i], expected, rtol=1e-3, atol=1e-4)


def test_predictions_follow_the_order_of_the_masked_ids_alone():
    _, predict, variables = make()
    visible, masked = ids()
    order = np.random.default_rng(1).permutation(8)
    predictions = predict(variables, clips(), visible, masked)
    permuted = predict(variables, clips(), visible[:, ::-1], masked[:, order])
    np.testing.assert_allclose(permuted, predictions[:, order], atol=1e-4)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_masked_pixels_have_no_influence(backbone):
    _, predict, variables = make(backbone=backbone)
    visible, masked = ids()
    patches = np.array(patches_lib.patchify(clips(), TUBELET))
    for i in range(2):
        patches[i, np.asarray(masked[i])] = np.nan
    hidden = jnp.asarray(patches_lib.unpatchify(patches, GRID, TUBELET))
    np.testing.assert_array_equal(
        predict(variables, hidden, visible, masked), predict(variables, clips(), visible, masked)
    )


def test_bfloat16_is_close_to_float32():
    _, predict, variables = make()
    narrow, predict_narrow, _ = make(dtype="bfloat16")
    expected = np.asarray(predict(variables, clips(), *ids()))
    actual = predict_narrow(variables, clips(), *ids())
    assert actual.dtype == jnp.bfloat16
    error = np.asarray(actual.astype(jnp.float32)) - expected
    assert np.sqrt((error**2).mean()) < 0.02 * np.sqrt((expected**2).mean())
    params = jax.eval_shape(narrow.init, jax.random.key(0), clips(), *ids())
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("backbone", "dtype"), [("vit", "bfloat16"), ("timesformer_divided", "float32")]
)
def test_every_parameter_has_a_finite_gradient(backbone, dtype):
    model, _, variables = make(backbone=backbone, dtype=dtype)
    target = losses.normalised_pixel_target(clips(), TUBELET, ids()[1])

    def loss(variables):
        predictions = model.apply(variables, clips(), *ids(), True)
        return losses.masked_mse(predictions, target, jnp.ones(2))

    for path, value in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(variables)):
        assert np.all(np.isfinite(value)), path
        assert np.any(np.asarray(value) != 0), path
        assert value.dtype == jnp.float32


def test_parameter_count_of_the_base_autoencoder():
    sizes = vit.SIZES["B"]
    model = mae.MaskedAutoencoder(sizes["encoder"], sizes["decoder"], (8, 14, 14))
    ids = jax.ShapeDtypeStruct((1, 392), jnp.int32), jax.ShapeDtypeStruct((1, 1176), jnp.int32)
    clips = jax.ShapeDtypeStruct((1, 16, 224, 224, 3), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), clips, *ids)["params"]

    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    assert count / 1e6 == pytest.approx(94.2, abs=0.05)


def test_mask_token_starts_within_one_deviation():
    wide = TransformerConfig(768, 1, 2)
    model = dataclasses.replace(autoencoder(), decoder_config=wide)
    variables = jax.jit(model.init)(jax.random.key(0), clips(), *ids())
    token = np.asarray(variables["params"]["mask_token"])
    assert token.shape == (768,)
    assert 0.019 < np.abs(token).max() <= 0.02
    assert abs(token.mean()) < 0.002
