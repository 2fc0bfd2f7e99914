"""The autoencoder against numpy, and what must hold of any masked autoencoder."""

import functools
import math

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest
from flax import linen as nn

from mgm_jax.models import blocks, layers, mae, vit
from mgm_jax.models import patches as tubelets
from mgm_jax.training import losses

GRID, TUBELET, TOKENS = (2, 2, 3), (2, 4, 4), 12


def model_config(**changes):
    config = ml_collections.ConfigDict(
        {
            "size": "Ti",
            "tubelet": TUBELET,
            "dtype": "float32",
            "drop_path": 0.0,
            "attention": "xla",
            "remat": False,
            "encoder": {"dim": 16, "depth": 2, "heads": 2},
            "decoder": {"dim": 8, "depth": 1, "heads": 2},
        }
    )
    config.update(changes)
    return config


@functools.cache
def tiny_autoencoder():
    """A small autoencoder with biases and scales that are not where they start."""
    part = vit.TransformerSettings
    settings = vit.AutoencoderSettings(encoder=part(16, 2, 2), decoder=part(8, 1, 2))
    model = mae.MaskedAutoencoder(settings, GRID, TUBELET)
    r = np.random.default_rng(0)
    clips = jnp.asarray(r.random((2, 4, 8, 12, 3)), jnp.float32)
    ids = np.stack([r.permutation(TOKENS) for _ in range(2)])
    visible, masked = jnp.asarray(ids[:, :4]), jnp.asarray(ids[:, 4:])
    variables = jax.jit(model.init)(jax.random.key(0), clips, visible, masked)
    variables = jax.tree.map(
        lambda v: v + jnp.asarray(0.1 * r.standard_normal(v.shape), v.dtype), variables
    )
    return model, variables, clips, visible, masked


@functools.partial(jax.jit, static_argnums=0)
def predict(model, variables, clips, visible, masked):
    return model.apply(variables, clips, visible, masked)


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
    table = layers.sincos_position_table(TOKENS, 16).astype(np.float64)
    x = dense(patches[visible], p["encoder"]["embed"]) + table[visible]
    for i in range(2):
        x = block(x, p["encoder"]["blocks"][str(i)])
    x = dense(layer_norm(x, p["encoder"]["norm"]), p["encoder_to_decoder"])
    table = layers.sincos_position_table(TOKENS, 8).astype(np.float64)
    x = np.concatenate([x + table[visible], p["mask_token"] + table[masked]])
    x = block(x, p["decoder"]["blocks"]["0"])
    return dense(layer_norm(x[-len(masked) :], p["decoder"]["norm"]), p["decoder"]["head"])


def test_forward_pass_against_numpy():
    model, variables, clips, visible, masked = tiny_autoencoder()
    predictions = predict(model, variables, clips, visible, masked)
    assert predictions.shape == (2, 8, 96)
    params = jax.tree.map(lambda v: np.asarray(v, np.float64), variables["params"])
    patches = np.asarray(tubelets.patchify(clips, TUBELET), np.float64)
    for i in range(2):
        expected = reference(params, patches[i], np.asarray(visible[i]), np.asarray(masked[i]))
        np.testing.assert_allclose(predictions[i], expected, rtol=1e-3, atol=1e-4)


def test_predictions_follow_the_order_of_the_masked_ids():
    model, variables, clips, visible, masked = tiny_autoencoder()
    order = np.random.default_rng(1).permutation(8)
    predictions = predict(model, variables, clips, visible, masked)
    permuted = predict(model, variables, clips, visible, masked[:, order])
    np.testing.assert_allclose(permuted, predictions[:, order], atol=1e-4)


def test_order_of_the_visible_ids_does_not_matter_to_predictions():
    model, variables, clips, visible, masked = tiny_autoencoder()
    predictions = predict(model, variables, clips, visible, masked)
    permuted = predict(model, variables, clips, visible[:, ::-1], masked)
    np.testing.assert_allclose(permuted, predictions, atol=1e-4)


def test_masked_pixels_influence_neither_code_nor_predictions():
    model, variables, clips, visible, masked = tiny_autoencoder()
    patches = np.array(tubelets.patchify(clips, TUBELET))
    for i in range(2):
        patches[i, np.asarray(masked[i])] += 7.0
    other = tubelets.unpatchify(jnp.asarray(patches), GRID, TUBELET)
    encode = jax.jit(lambda clips: model.apply(variables, clips, visible, method="encode"))
    np.testing.assert_array_equal(encode(other), encode(clips))
    np.testing.assert_array_equal(
        predict(model, variables, other, visible, masked),
        predict(model, variables, clips, visible, masked),
    )


def test_encode_then_decode_is_the_call():
    model, variables, clips, visible, masked = tiny_autoencoder()

    @jax.jit
    def encode_and_decode(variables):
        bound = model.bind(variables)
        return bound.decode(bound.encode(clips, visible), visible, masked)

    expected = predict(model, variables, clips, visible, masked)
    np.testing.assert_allclose(encode_and_decode(variables), expected, atol=1e-5)
    every = jax.eval_shape(lambda: model.apply(variables, clips, method="encode"))
    assert every.shape == (2, TOKENS, 16)


def test_bfloat16_is_close_to_float32():
    model, variables, clips, visible, masked = tiny_autoencoder()
    narrow = model.clone(dtype=jnp.bfloat16)
    expected = predict(model, variables, clips, visible, masked)
    actual = predict(narrow, variables, clips, visible, masked)
    assert actual.dtype == jnp.bfloat16
    error = np.asarray(actual.astype(jnp.float32) - expected)
    assert np.sqrt((error**2).mean()) < 0.02 * np.sqrt((np.asarray(expected) ** 2).mean())
    params = jax.eval_shape(narrow.init, jax.random.key(0), clips, visible, masked)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_every_parameter_has_a_finite_gradient(dtype):
    model, variables, clips, visible, masked = tiny_autoencoder()
    model = model.clone(dtype=dtype)
    target = losses.normalised_pixel_target(clips, TUBELET, masked)

    def loss(variables):
        predictions = model.apply(variables, clips, visible, masked, True)
        return losses.masked_mse(predictions, target, jnp.ones(2))

    gradient = jax.jit(jax.grad(loss))
    for path, value in jax.tree_util.tree_leaves_with_path(gradient(variables)):
        assert np.all(np.isfinite(value)), path
        assert np.any(np.asarray(value) != 0), path
        assert value.dtype == jnp.float32


def test_training_lowers_the_loss():
    model, variables, clips, visible, masked = tiny_autoencoder()
    target = losses.normalised_pixel_target(clips, TUBELET, masked)
    optimizer = optax.adam(1e-2)

    def loss(variables):
        predictions = model.apply(variables, clips, visible, masked, True)
        return losses.masked_mse(predictions, target, jnp.ones(2))

    @jax.jit
    def step(variables, state):
        value, gradient = jax.value_and_grad(loss)(variables)
        updates, state = optimizer.update(gradient, state)
        return value, optax.apply_updates(variables, updates), state

    state = optimizer.init(variables)
    first, variables, state = step(variables, state)
    for _ in range(150):
        last, variables, state = step(variables, state)
    assert float(last) < 0.8 * float(first)


def test_parameter_count_of_the_base_autoencoder():
    config = model_config(size="B", tubelet=(2, 16, 16))
    config.encoder = config.decoder = {"dim": None, "depth": None, "heads": None}
    model = mae.make_autoencoder(config, 16, 224)
    ids = jax.ShapeDtypeStruct((1, 392), jnp.int32), jax.ShapeDtypeStruct((1, 1176), jnp.int32)
    clips = jax.ShapeDtypeStruct((1, 16, 224, 224, 3), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), clips, *ids)["params"]

    def count(tree):
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))

    def block_count(dim):
        return (4 * dim * dim + 2 * dim + dim) + (8 * dim * dim + 4 * dim + dim) + 4 * dim

    assert count(shapes["encoder"]) == (1536 + 1) * 768 + 12 * block_count(768) + 2 * 768
    assert count(shapes["decoder"]) == 4 * block_count(384) + 2 * 384 + (384 + 1) * 1536
    assert count(shapes["encoder_to_decoder"]) == 768 * 384
    assert count(shapes["mask_token"]) == 384
    assert count(shapes) / 1e6 == pytest.approx(94.2, abs=0.05)


def test_mask_token_starts_within_one_deviation():
    settings = vit.autoencoder_settings(
        "Ti", {"encoder": {"depth": 1}, "decoder": {"depth": 1, "dim": 768}}
    )
    model = mae.MaskedAutoencoder(settings, GRID, TUBELET)
    ids = jnp.arange(TOKENS)[None]
    clips = jnp.zeros((1, 4, 8, 12, 3))
    variables = jax.jit(model.init)(jax.random.key(0), clips, ids[:, :3], ids[:, 3:])
    token = np.asarray(variables["params"]["mask_token"])
    assert token.shape == (768,)
    assert 0.019 < np.abs(token).max() <= 0.02
    assert abs(token.mean()) < 0.002


def test_config_reaches_every_part():
    model = mae.make_autoencoder(
        model_config(dtype="bfloat16", drop_path=0.1, remat=True, attention="cudnn"), 4, 8
    )
    assert model.grid == (2, 2, 2)
    stacks = []

    def note(call, args, kwargs, context):
        if isinstance(context.module, blocks.Blocks):
            stacks.append(context.module)
            return args[0]
        return call(*args, **kwargs)

    ids = jnp.arange(8)[None]
    with nn.intercept_methods(note):
        init = (jax.random.key(0), jnp.zeros((1, 4, 8, 8, 3)), ids[:, :3], ids[:, 3:])
        jax.eval_shape(model.init, *init)
    assert [(stack.depth, stack.heads) for stack in stacks] == [(2, 2), (1, 2)]
    for stack in stacks:
        assert stack.dtype == jnp.bfloat16
        assert (stack.drop_path, stack.remat, stack.attention) == (0.1, "full", "cudnn")


@pytest.mark.parametrize(
    ("changes", "size", "message"),
    [
        ({"size": "Huge"}, 8, "no model size named 'Huge'; choose one of Ti, S, B, L, H"),
        ({"dtype": "float16"}, 8, "no compute dtype 'float16'"),
        ({}, 10, r"10x10 pixels does not divide into tubelets of \(2, 4, 4\)"),
    ],
)
def test_bad_configs_are_refused(changes, size, message):
    with pytest.raises(ValueError, match=message):
        mae.make_autoencoder(model_config(**changes), 4, size)
