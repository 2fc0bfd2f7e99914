"""Stacked parameters and unstacked ones are the same model, and each comes back from the other."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mgm_jax.models import blocks, classifier, mae, patches, stacking, vit
from mgm_jax.training import optimizer as optim
from mgm_jax.training import sharding

GRID, TUBELET = (2, 2, 2), (2, 4, 4)
SETTINGS = vit.AutoencoderSettings(
    vit.TransformerSettings(16, 2, 2), vit.TransformerSettings(8, 1, 2)
)


def autoencoder(backbone="vit", **options):
    return mae.MaskedAutoencoder(SETTINGS, GRID, TUBELET, backbone=backbone, **options)


def inputs():
    r = np.random.default_rng(0)
    ids = jnp.asarray(np.stack([r.permutation(8) for _ in range(2)]))
    return jnp.asarray(r.random((2, 4, 8, 8, 3)), jnp.float32), ids[:, :4], ids[:, 4:]


def random_params(model, seed=0):
    r = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs())["params"]
    return jax.tree.map(lambda s: (0.3 * r.standard_normal(s.shape)).astype(np.float32), shapes)


def assert_same(actual, expected):
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


@pytest.mark.parametrize("backbone", vit.BACKBONES)
def test_stacking_gives_the_layout_of_the_scanned_model_and_back(backbone):
    params = random_params(autoencoder(backbone))
    stacked = stacking.stack(params)
    scanned = jax.eval_shape(autoencoder(backbone, scan=True).init, jax.random.key(0), *inputs())
    assert jax.tree.map(jnp.shape, stacked) == jax.tree.map(jnp.shape, scanned["params"])
    kernel = stacked["encoder"]["blocks"][blocks.STACKED]["mlp"]["fc1"]["kernel"]
    np.testing.assert_array_equal(
        kernel[1], params["encoder"]["blocks"]["1"]["mlp"]["fc1"]["kernel"]
    )
    assert_same(stacking.unstack(stacked), params)
    assert_same(stacking.stack(stacked), stacked)
    assert_same(stacking.unstack(params), params)


def test_a_scanned_model_computes_the_same_in_training():
    """Gradients under drop path; the encoder's blocks are divided, the decoder's joint."""
    plain = autoencoder("timesformer_divided", drop_path=0.4)
    scanned = plain.clone(scan=True, remat="dots")
    params = random_params(plain)
    assert_close(
        stacking.unstack(_gradient(scanned)(stacking.stack(params))), _gradient(plain)(params)
    )


def _gradient(model):
    def loss(params):
        key = {"dropout": jax.random.key(3)}
        predictions = model.apply({"params": params}, *inputs(), True, rngs=key)
        return jnp.square(predictions).mean()

    return jax.jit(jax.grad(loss))


def assert_close(actual, expected):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), actual, expected
    )


def test_the_blocks_of_a_fresh_scanned_model_differ():
    params = jax.jit(autoencoder(scan=True).init)(jax.random.key(0), *inputs())["params"]
    kernel = np.asarray(params["encoder"]["blocks"][blocks.STACKED]["mlp"]["fc1"]["kernel"])
    assert kernel.shape == (2, 16, 64)
    assert not np.allclose(kernel[0], kernel[1])
    bound = np.sqrt(6 / (16 + 64))
    assert np.all(abs(kernel) <= bound)
    assert np.all(abs(kernel).max(axis=(1, 2)) > 0.9 * bound)


def test_an_optimizers_moments_are_stacked_with_their_parameters():
    params = random_params(autoencoder())
    state = optax.adam(1e-3).init(params)
    expected = optax.adam(1e-3).init(stacking.stack(params))
    assert_same(stacking.stack(state), expected)
    assert_same(stacking.unstack(expected), state)


def test_stacked_layers_learn_at_their_own_rates():
    """One step of the finetuning optimiser on both layouts."""
    model = classifier.Classifier(SETTINGS.encoder, GRID, 5, TUBELET)
    r = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), inputs()[0])["params"]
    params, gradients = (
        jax.tree.map(lambda s: jnp.asarray(r.standard_normal(s.shape), jnp.float32), shapes)
        for _ in range(2)
    )

    def update(params, gradients):
        multipliers = optim.layer_decay_multipliers(params, 0.75, 2)
        optimizer = optax.chain(
            optax.add_decayed_weights(0.1, optim.weight_decay_mask),
            optax.stateless(lambda u, _: jax.tree.map(lambda x, by: x * by, u, multipliers)),
        )
        return jax.jit(lambda: optimizer.update(gradients, optimizer.init(params), params)[0])()

    stacked = update(stacking.stack(params), stacking.stack(gradients))
    assert_close(stacking.unstack(stacked), update(params, gradients))


def test_stacked_parameters_are_placed_like_the_others():
    mesh = sharding.make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    model = autoencoder("timesformer_divided")
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs())["params"]
    scanned = autoencoder("timesformer_divided", scan=True)
    stacked_shapes = jax.eval_shape(scanned.init, jax.random.key(0), *inputs())["params"]
    placed = sharding.state_sharding(mesh, shapes)
    expected = placed["encoder"]["blocks"]["1"]
    stacked = sharding.state_sharding(mesh, stacked_shapes)["encoder"]["blocks"][blocks.STACKED]
    jax.tree.map(lambda a, b: _assert_first_axis_added(a.spec, b.spec), stacked, expected)
    assert "fsdp" in str(stacked["temporal_attention"]["qkv"]["kernel"].spec)


def _assert_first_axis_added(stacked, plain):
    assert tuple(stacked) == (None, *plain)


def test_tokens_of_a_scanned_encoder_are_those_of_the_unrolled_one():
    encoder = vit.Encoder(SETTINGS.encoder, GRID, TUBELET)
    clips = inputs()[0]
    params = random_params(autoencoder())["encoder"]
    expected = jax.jit(encoder.apply)({"params": params}, clips)
    scanned = jax.jit(encoder.clone(scan=True).apply)({"params": stacking.stack(params)}, clips)
    np.testing.assert_allclose(scanned, expected, rtol=1e-4, atol=1e-5)
    assert expected.shape[1] == np.prod(patches.token_grid(4, 8, 8, TUBELET))
