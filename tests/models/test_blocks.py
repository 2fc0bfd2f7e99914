"""Stacks of blocks: scanned or not, with or without remat, they compute the same."""

import functools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mgm_jax.errors import ConfigError
from mgm_jax.models import blocks, layers

PLAIN = blocks.Blocks(depth=2, heads=2, drop_path=0.3)


@functools.cache
def some_tokens():
    return jnp.asarray(np.random.default_rng(1).standard_normal((6, 4, 8)), jnp.float32)


@functools.cache
def plain_variables():
    return jax.jit(PLAIN.init)(jax.random.key(0), some_tokens())


def loss(variables, module):
    key = {"dropout": jax.random.key(0)}
    return jnp.square(module.apply(variables, some_tokens(), True, rngs=key)).mean()


gradient = jax.jit(jax.value_and_grad(loss), static_argnums=1)


def assert_close(actual, expected):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), actual, expected
    )


def test_drop_path_grows_linearly_from_zero():
    stack = blocks.Blocks(depth=3, heads=2, drop_path=0.9)
    rates = {}

    def note(call, args, kwargs, context):
        if isinstance(context.module, layers.Block):
            rates[context.module.name] = float(args[1].rate)
            return args[0]
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        stack.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, some_tokens(), True)
    assert rates == {"0": 0.0, "1": pytest.approx(0.45), "2": pytest.approx(0.9)}


def test_drop_path_is_off_outside_training():
    x = some_tokens()
    variables = jax.eval_shape(PLAIN.init, jax.random.key(0), x)
    program = jax.make_jaxpr(PLAIN.apply)(variables, x)
    assert str(program) == str(jax.make_jaxpr(PLAIN.clone(drop_path=0.0).apply)(variables, x))
    with pytest.raises(flax.errors.InvalidRngError, match="dropout"):
        jax.eval_shape(lambda variables: PLAIN.apply(variables, x, True), variables)


@pytest.mark.parametrize("remat", ["full", "dots"])
def test_remat_changes_neither_parameters_nor_gradients(remat):
    again = PLAIN.clone(remat=remat)
    jax.tree.map(
        np.testing.assert_array_equal,
        plain_variables(),
        jax.jit(again.init)(jax.random.key(0), some_tokens()),
    )
    assert "remat" in str(jax.make_jaxpr(loss, static_argnums=1)(plain_variables(), again))
    assert_close(gradient(plain_variables(), again), gradient(plain_variables(), PLAIN))


def test_dots_are_kept_and_not_computed_again():
    def count(remat):
        program = jax.make_jaxpr(jax.grad(loss), static_argnums=1)
        return str(program(plain_variables(), PLAIN.clone(remat=remat))).count("dot_general")

    assert count("none") < count("dots") < count("full")


def test_remat_may_be_said_with_true_and_false():
    assert [blocks.remat_policy(name) for name in (True, False)] == ["full", "none"]


def test_an_unknown_remat_is_refused():
    with pytest.raises(ConfigError, match="remat='some' is not one of 'none', 'full', 'dots'"):
        blocks.remat_policy("some")
