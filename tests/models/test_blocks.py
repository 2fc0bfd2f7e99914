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
)

from mgm_jax.models import blocks, layers
from mgm_jax.models.layers import TransformerConfig

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
    module = blocks.Blocks(TransformerConfig(dim, 2, 4))
    params = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 2, dim)))["params"]
    first, second = (params[name] for name in "01")
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
    rates, keys, branches = {}, set(), []

    class Noting(layers.DropPath):
        def __call__(self, branch, y):
            branches.append(branch)
            return super().__call__(branch, y)

    def note(call, args, kwargs, context):
        if isinstance(context.module, blocks.Block):
            drop_path = Noting(args[1].rate, args[1].key)
            rates[context.module.name] = float(drop_path.rate)
            keys.add(np.asarray(jax.random.key_data(drop_path.key)).tobytes())
            return call(args[0], drop_path, *args[2:], **kwargs)
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        stack.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, some_tokens(), True)
    assert rates == {"0": 0.0, "1": pytest.approx(0.45), "2": pytest.approx(0.9)}
    # Blocks, and the branches of one, are dropped independently.
    assert len(keys) == 3
    assert branches == [0, 1] * 3


def test_remat_computes_again_and_does_not_change_gradients():
    products = {}
    for remat in ("none", "dots", "full"):
        config = dataclasses.replace(PLAIN, remat=remat)
        program = jax.make_jaxpr(jax.grad(loss), static_argnums=1)(plain_variables(), config)
        products[remat] = str(program).count("dot_general")
        assert_close(gradient(plain_variables(), config), gradient(plain_variables(), PLAIN))
    assert products["none"] < products["dots"] < products["full"]
