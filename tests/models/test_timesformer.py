"""Divided attention against loops over locations and times, masked and not; learned positions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import GRID, TOKENS, TUBELET, clips, encoder_config

from mgm_jax.models import timesformer, vit
from mgm_jax.models.attention import Attention
from mgm_jax.models.blocks import Block
from mgm_jax.models.layers import DropPath, LayerNorm, Mlp, sincos_position_table

CONFIG = encoder_config()
DIM = CONFIG.dim


def randomised(variables):
    r = np.random.default_rng(0)
    return jax.tree.map(
        lambda v: v + jnp.asarray(0.2 * r.standard_normal(v.shape), v.dtype), variables
    )


@functools.cache
def divided_block():
    block = timesformer.DividedBlock(CONFIG, GRID)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((3, TOKENS, DIM)), jnp.float32)
    return block, jax.jit(block.init)(jax.random.key(0), x, DropPath()), x


@functools.partial(jax.jit, static_argnums=0)
def apply_module(module, params, x):
    return module.apply({"params": params}, x[None])[0]


def by_loops(params, x, ids):
    """The block on one clip's visible tokens, group by group, in TimeSformer's order."""
    attention, norm = Attention(CONFIG), LayerNorm()

    def in_groups(name, y, groups):
        out = np.zeros_like(y)
        for group in np.unique(groups):
            members = groups == group
            out[members] = apply_module(attention, params[name], y[members])
        return out

    places = GRID[1] * GRID[2]
    y = apply_module(norm, params["temporal_norm"], x)
    y = in_groups("temporal_attention", y, ids % places)
    fc = params["temporal_fc"]
    x = x + y @ np.asarray(fc["kernel"]) + np.asarray(fc["bias"])
    y = apply_module(norm, params["norm1"], x)
    x = x + in_groups("attention", y, ids // places)
    y = apply_module(norm, params["norm2"], x)
    return x + apply_module(Mlp(CONFIG), params["mlp"], y)


@pytest.mark.parametrize("visible", [5, TOKENS])
def test_divided_attention_is_attention_within_groups(visible):
    block, variables, x = divided_block()
    variables = randomised(variables)
    r = np.random.default_rng(1)
    ids = np.stack([np.sort(r.permutation(TOKENS)[:visible]) for _ in range(3)])
    x = x[:, :visible]
    encoded = jax.jit(block.apply)(variables, x, DropPath(), jnp.asarray(ids))
    expected = by_loops(variables["params"], np.asarray(x[0]), ids[0])
    np.testing.assert_allclose(encoded[0], expected, rtol=1e-4, atol=1e-5)
    if visible == TOKENS:
        unmasked = jax.jit(block.apply)(variables, x, DropPath())
        np.testing.assert_allclose(unmasked, encoded, rtol=1e-4, atol=1e-5)


def test_attention_over_time_starts_without_influence():
    block, variables, x = divided_block()
    shared = {k: v for k, v in variables["params"].items() if not k.startswith("temporal_")}
    assert len(variables["params"]) - len(shared) == 3
    frames = x.reshape(3 * GRID[0], -1, DIM)
    per_frame = jax.jit(Block(CONFIG).apply)({"params": shared}, frames, DropPath())
    divided = jax.jit(block.apply)(variables, x, DropPath())
    np.testing.assert_allclose(divided, per_frame.reshape(x.shape), rtol=1e-4, atol=1e-5)


def test_positions_are_those_of_location_and_time():
    positions = timesformer.Positions(GRID, DIM)
    params = positions.init(jax.random.key(0))["params"]
    assert not np.any(params["time"])
    assert np.asarray(params["space"]).std() == pytest.approx(0.02, rel=0.3)
    params = randomised(params)
    table = np.asarray(positions.apply({"params": params})).reshape(*GRID, DIM)
    expected = params["space"][1, 2] + params["time"][1]
    np.testing.assert_allclose(table[1, 1, 2], expected, rtol=1e-6)


def test_joint_attention_differs_from_the_vit_in_positions_alone():
    joint = vit.Encoder(encoder_config(backbone="timesformer_joint"), GRID, TUBELET)
    params = randomised(jax.jit(joint.init)(jax.random.key(0), clips()))["params"]
    positions = {**params.pop("positions")}
    # Where the learned position is the table's, so must be what is computed.
    table = np.asarray(sincos_position_table(TOKENS, DIM))
    positions["time"] = jnp.zeros_like(positions["time"])
    positions["space"] = jnp.broadcast_to(table[0], (*GRID[1:], DIM))
    ids = jnp.zeros((2, 1), jnp.int32)
    plain = vit.Encoder(CONFIG, GRID, TUBELET)
    expected = jax.jit(plain.apply)({"params": params}, clips(), ids)
    actual = jax.jit(joint.apply)({"params": {**params, "positions": positions}}, clips(), ids)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
