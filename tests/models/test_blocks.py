"""Stacks of blocks: scanned or not, with or without remat, they compute and learn the same."""

import dataclasses
import functools
import math

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
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


def test_linear_layers_start_xavier_uniform_with_videomaes_fans():
    dim = 48
    module = blocks.Blocks(TransformerConfig(dim, 1, 4))
    params = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 2, dim)))["params"]["0"]
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
    assert not np.any(params["attention"]["q_bias"])
    assert not np.any(params["attention"]["v_bias"])
    assert not np.any(params["mlp"]["fc1"]["bias"])


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


def test_drop_path_is_off_outside_training():
    x = some_tokens()
    dropping, plain = (
        blocks.Blocks(dataclasses.replace(PLAIN, drop_path=rate)) for rate in (0.3, 0.0)
    )
    variables = jax.eval_shape(plain.init, jax.random.key(0), x)
    programs = [str(jax.make_jaxpr(stack.apply)(variables, x)) for stack in (dropping, plain)]
    assert programs[0] == programs[1]
    with pytest.raises(flax.errors.InvalidRngError, match="dropout"):
        jax.eval_shape(lambda variables: dropping.apply(variables, x, True), variables)


@pytest.mark.parametrize("remat", ["full", "dots"])
def test_remat_does_not_change_gradients(remat):
    again = dataclasses.replace(PLAIN, remat=remat)
    assert "remat" in str(jax.make_jaxpr(loss, static_argnums=1)(plain_variables(), again))
    assert_close(gradient(plain_variables(), again), gradient(plain_variables(), PLAIN))


def test_dots_are_kept_and_not_computed_again():
    def count(remat):
        program = jax.make_jaxpr(jax.grad(loss), static_argnums=1)
        config = dataclasses.replace(PLAIN, remat=remat)
        return str(program(plain_variables(), config)).count("dot_general")

    assert count("none") < count("dots") < count("full")


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


def test_the_blocks_of_a_fresh_scanned_model_differ():
    stack = blocks.Blocks(dataclasses.replace(PLAIN, dim=16, scan=True))
    tokens = jnp.zeros((1, 3, 16))
    params = jax.jit(stack.init)(jax.random.key(0), tokens)["params"]
    kernel = np.asarray(params[blocks.STACKED]["mlp"]["fc1"]["kernel"])
    assert kernel.shape == (2, 16, 64)
    assert not np.allclose(kernel[0], kernel[1])
    bound = np.sqrt(6 / (16 + 64))
    assert np.all(abs(kernel) <= bound)
    assert np.all(abs(kernel).max(axis=(1, 2)) > 0.9 * bound)


def test_stacked_layers_learn_at_their_own_rates():
    """One step of the finetuning optimizer on both layouts, moments included."""
    model = classifier_of()
    params, gradients = (random_params(model, clips()) for _ in range(2))

    def update(params, gradients):
        multipliers = optim.layer_decay_multipliers(params, 0.75, 2)
        optimizer = optax.chain(
            optax.scale_by_adam(),
            optax.add_decayed_weights(0.1, optim.weight_decay_mask),
            optax.stateless(lambda u, _: jax.tree.map(lambda x, by: x * by, u, multipliers)),
        )
        return jax.jit(lambda: optimizer.update(gradients, optimizer.init(params), params))()

    stacked = update(blocks.stack(params), blocks.stack(gradients))
    assert_close(blocks.unstack(stacked), update(params, gradients))


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
