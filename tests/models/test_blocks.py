"""Stacks of blocks: scanned or not, with or without remat, they compute and learn the same."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from tiny_models import (
    assert_close,
    autoencoder,
    classifier_of,
    clips,
    ids,
    random_params,
    shapes,
)

from mgm_jax.models import blocks
from mgm_jax.models.layers import BACKBONES, TransformerConfig
from mgm_jax.training import optimizer as optim
from mgm_jax.training import sharding

PLAIN = TransformerConfig(8, 2, 2, drop_path=0.3)


@functools.cache
def some_tokens():
    return jnp.asarray(np.random.default_rng(1).standard_normal((6, 4, 8)), jnp.float32)


@functools.cache
def plain_variables():
    return jax.jit(blocks.Blocks(PLAIN).init)(jax.random.key(0), some_tokens())


def loss(variables, config):
    key = {"dropout": jax.random.key(0)}
    return jnp.square(blocks.Blocks(config).apply(variables, some_tokens(), True, rngs=key)).mean()


gradient = jax.jit(jax.value_and_grad(loss), static_argnums=1)


@pytest.mark.parametrize("scan", [False, True])
def test_linear_layers_start_xavier_uniform_with_videomaes_fans(scan):
    dim = 48
    module = blocks.Blocks(TransformerConfig(dim, 2, 4, scan=scan))
    params = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 2, dim)))["params"]
    first, second = (blocks.unstack({"blocks": params})["blocks"][name] for name in "01")
    fans = {
        ("attention", "qkv"): (dim, 3 * dim),
        ("attention", "proj"): (dim, dim),
        ("mlp", "fc1"): (dim, 4 * dim),
        ("mlp", "fc2"): (4 * dim, dim),
    }
    for (module, layer), (fan_in, fan_out) in fans.items():
        kernel = np.asarray(first[module][layer]["kernel"])
        bound = math.sqrt(6 / (fan_in + fan_out))
        assert kernel.size == fan_in * fan_out
        assert 0.99 * bound < np.abs(kernel).max() <= bound
        assert kernel.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert not np.allclose(kernel, second[module][layer]["kernel"])
    for bias in (first["attention"]["q_bias"], first["attention"]["v_bias"]):
        assert not np.any(bias)
    assert not np.any(first["mlp"]["fc1"]["bias"])


def test_drop_path_grows_linearly_from_zero():
    stack = blocks.Blocks(dataclasses.replace(PLAIN, depth=3, drop_path=0.9))
    rates = {}

    def note(call, args, kwargs, context):
        if isinstance(context.module, blocks.Block):
            rates[context.module.name] = float(args[1].rate)
            return args[0]
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        stack.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, some_tokens(), True)
    assert rates == {"0": 0.0, "1": pytest.approx(0.45), "2": pytest.approx(0.9)}


def test_remat_computes_again_and_does_not_change_gradients():
    products = {}
    for remat in ("none", "dots", "full"):
        config = dataclasses.replace(PLAIN, remat=remat)
        program = jax.make_jaxpr(jax.grad(loss), static_argnums=1)(plain_variables(), config)
        products[remat] = str(program).count("dot_general")
        assert_close(gradient(plain_variables(), config), gradient(plain_variables(), PLAIN))
    assert products["none"] < products["dots"] < products["full"]


def inputs():
    return clips(), *ids()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_stacking_gives_the_layout_of_the_scanned_model_and_back(backbone):
    params = random_params(autoencoder(backbone=backbone), *inputs())
    stacked = blocks.stack(params)
    scanned = shapes(autoencoder(backbone=backbone, scan=True), *inputs())
    assert jax.tree.map(jnp.shape, stacked) == jax.tree.map(jnp.shape, scanned)
    kernel = stacked["encoder"]["blocks"][blocks.STACKED]["mlp"]["fc1"]["kernel"]
    np.testing.assert_array_equal(
        kernel[1], params["encoder"]["blocks"]["1"]["mlp"]["fc1"]["kernel"]
    )
    for actual, expected in (
        (blocks.unstack(stacked), params),
        (blocks.stack(stacked), stacked),
        (blocks.unstack(params), params),
    ):
        jax.tree.map(np.testing.assert_array_equal, actual, expected)


def test_a_scanned_model_has_the_same_gradients_in_training():
    """Under drop path; the encoder's blocks are divided, the decoder's joint."""

    def gradient(model, params):
        def loss(params):
            key = {"dropout": jax.random.key(3)}
            predictions = model.apply({"params": params}, *inputs(), True, rngs=key)
            return jnp.square(predictions).mean()

        return jax.jit(jax.grad(loss))(params)

    options = {"backbone": "timesformer_divided", "drop_path": 0.4}
    plain = autoencoder(**options)
    scanned = autoencoder(**options, scan=True, remat="dots", attention="chunked")
    params = random_params(plain, *inputs())
    stacked = gradient(scanned, blocks.stack(params))
    assert_close(blocks.unstack(stacked), gradient(plain, params), rtol=1e-3)


def test_stacked_layers_decay_and_learn_at_their_own_rates():
    params = random_params(classifier_of(), clips())
    stacked = blocks.stack(params)
    rates = jax.tree.map(np.multiply, stacked, optim.layer_decay_multipliers(stacked, 0.75, 2))
    expected = jax.tree.map(np.multiply, params, optim.layer_decay_multipliers(params, 0.75, 2))
    assert_close(blocks.unstack(rates), expected)
    decays = optim.weight_decay_mask(stacked)["encoder"]["blocks"][blocks.STACKED]
    assert decays == optim.weight_decay_mask(params)["encoder"]["blocks"]["0"]


def test_stacked_parameters_are_placed_like_the_others():
    mesh = sharding.make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    placed, stacked = (
        sharding.state_sharding(
            mesh, shapes(autoencoder(backbone="timesformer_divided", scan=scan), *inputs())
        )["encoder"]["blocks"]
        for scan in (False, True)
    )
    specs = jax.tree.map(lambda place: (None, *place.spec), placed["1"])
    assert jax.tree.map(lambda place: (*place.spec,), stacked[blocks.STACKED]) == specs
    assert "fsdp" in specs["temporal_attention"]["qkv"]["kernel"]
