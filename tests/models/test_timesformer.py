"""Divided attention against loops over locations and steps, masked and not; TimeSformer trains."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from mgm_jax import base_config
from mgm_jax.errors import ConfigError
from mgm_jax.masking import strategies
from mgm_jax.models import classifier, layers, mae, timesformer, vit
from mgm_jax.models import patches as tubelets
from mgm_jax.training import losses

GRID, TUBELET = (2, 2, 3), (2, 4, 4)
TOKENS, DIM = 12, 16


def model_config(**changes):
    config = ConfigDict(
        {
            "size": "Ti",
            "tubelet": TUBELET,
            "dtype": "float32",
            "drop_path": 0.0,
            "attention": "xla",
            "remat": False,
            "backbone": "timesformer_divided",
            "encoder": {"dim": DIM, "depth": 2, "heads": 2},
            "decoder": {"dim": 8, "depth": 1, "heads": 2},
        }
    )
    config.update(changes)
    return config


def randomised(variables, seed=0):
    """Off the starting values, so that zeros hide nothing."""
    r = np.random.default_rng(seed)
    return jax.tree.map(
        lambda v: v + jnp.asarray(0.2 * r.standard_normal(v.shape), v.dtype), variables
    )


@functools.cache
def divided_block():
    block = timesformer.DividedBlock(heads=2, grid=GRID)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((3, TOKENS, DIM)), jnp.float32)
    return block, randomised(jax.jit(block.init)(jax.random.key(0), x)), x


@functools.partial(jax.jit, static_argnums=0)
def apply_module(module, params, x):
    return module.apply({"params": params}, x[None])[0]


def by_loops(params, x, ids):
    """The block on one clip's visible tokens, group by group, in TimeSformer's order."""
    attention, norm = layers.Attention(2), layers.LayerNorm()

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
    return x + apply_module(layers.Mlp(), params["mlp"], y)


def test_divided_attention_on_visible_tokens_is_attention_within_groups():
    block, variables, x = divided_block()
    r = np.random.default_rng(1)
    ids = np.stack([np.sort(r.permutation(TOKENS)[:5]) for _ in range(3)])
    x = x[:, :5]
    encoded = jax.jit(block.apply)(variables, x, None, jnp.asarray(ids))
    for clip in range(3):
        expected = by_loops(variables["params"], np.asarray(x[clip]), ids[clip])
        np.testing.assert_allclose(encoded[clip], expected, rtol=1e-4, atol=1e-5)


def test_without_a_mask_divided_attention_is_the_plain_one():
    block, variables, x = divided_block()
    plain = jax.jit(block.apply)(variables, x)
    ids = jnp.tile(jnp.arange(TOKENS), (3, 1))
    masked = jax.jit(block.apply)(variables, x, None, ids)
    np.testing.assert_allclose(masked, plain, rtol=1e-4, atol=1e-5)
    expected = by_loops(variables["params"], np.asarray(x[0]), np.arange(TOKENS))
    np.testing.assert_allclose(plain[0], expected, rtol=1e-4, atol=1e-5)


def test_attention_over_time_starts_without_influence():
    block, _, x = divided_block()
    variables = jax.jit(block.init)(jax.random.key(0), x)
    shared = {k: v for k, v in variables["params"].items() if not k.startswith("temporal_")}
    assert len(variables["params"]) - len(shared) == 3
    steps = x.reshape(3 * GRID[0], -1, DIM)
    per_step = jax.jit(layers.Block(heads=2).apply)({"params": shared}, steps)
    divided = jax.jit(block.apply)(variables, x)
    np.testing.assert_allclose(divided, per_step.reshape(x.shape), rtol=1e-4, atol=1e-5)


def test_positions_are_those_of_place_and_time():
    positions = timesformer.Positions(GRID, DIM)
    params = positions.init(jax.random.key(0))["params"]
    assert not np.any(params["time"])
    assert np.asarray(params["space"]).std() == pytest.approx(0.02, rel=0.3)
    params = randomised(params)
    table = np.asarray(positions.apply({"params": params})).reshape(*GRID, DIM)
    expected = params["space"][1, 2] + params["time"][1]
    np.testing.assert_allclose(table[1, 1, 2], expected, rtol=1e-6)


def test_joint_attention_differs_from_the_vit_in_positions_alone():
    clips = jnp.asarray(np.random.default_rng(0).random((2, 4, 8, 12, 3)), jnp.float32)
    settings = vit.TransformerSettings(DIM, 2, 2)
    joint = vit.Encoder(settings, GRID, TUBELET, backbone="timesformer_joint")
    params = randomised(jax.jit(joint.init)(jax.random.key(0), clips))["params"]
    positions = {**params.pop("positions")}
    plain = vit.Encoder(settings, GRID, TUBELET)
    shapes = jax.eval_shape(plain.init, jax.random.key(0), clips)["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
    # Where the learned position is the table's, so must be what is computed.
    table = np.asarray(layers.sincos_position_table(TOKENS, DIM))
    positions["time"] = jnp.zeros_like(positions["time"])
    positions["space"] = jnp.broadcast_to(table[0], (*GRID[1:], DIM))
    ids = jnp.zeros((2, 1), jnp.int32)
    expected = jax.jit(plain.apply)({"params": params}, clips, ids)
    actual = jax.jit(joint.apply)({"params": {**params, "positions": positions}}, clips, ids)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("strategy", strategies.STRATEGIES)
def test_the_autoencoder_has_a_finite_gradient_under_masks(strategy):
    grid, ratio = (2, 4, 4), 0.75
    model = mae.make_autoencoder(model_config(), 4, 16)
    r = np.random.default_rng(0)
    clips = jnp.asarray(r.random((2, 4, 16, 16, 3)), jnp.float32)
    masking = base_config.pretrain().masking
    masking.strategy = strategy
    draw = jax.jit(strategies.make_mask_fn(masking, grid))
    magnitude = jnp.asarray(r.random((2, 2, 4, 4)), jnp.float32)
    mask = draw(jax.random.split(jax.random.key(0), 2), magnitude)
    visible, masked = strategies.split_ids(mask, strategies.num_masked(grid, ratio))
    params = _init(model, clips.shape, visible.shape, masked.shape)
    target = losses.normalised_pixel_target(clips, TUBELET, masked)
    value, gradients = _autoencoder_gradient(model, params, clips, visible, masked, target)
    assert np.isfinite(value)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.all(np.isfinite(leaf)), path
        assert np.any(np.asarray(leaf) != 0), path


@functools.cache
def _init(model, *shapes):
    clips, visible, masked = shapes
    init = jax.jit(lambda key: model.init(key, *(jnp.zeros(clips), *_ids(visible, masked))))
    return randomised(init(jax.random.key(0)))


def _ids(visible, masked):
    return jnp.zeros(visible, jnp.int32), jnp.zeros(masked, jnp.int32)


@functools.partial(jax.jit, static_argnums=0)
def _autoencoder_gradient(model, variables, clips, visible, masked, target):
    def loss(variables):
        predictions = model.apply(variables, clips, visible, masked, True)
        return losses.masked_mse(predictions, target, jnp.ones(2))

    return jax.value_and_grad(loss)(variables)


def test_hidden_pixels_have_no_influence():
    encoder = vit.Encoder(
        vit.TransformerSettings(DIM, 1, 2), GRID, TUBELET, backbone="timesformer_divided"
    )
    clips = jnp.asarray(np.random.default_rng(0).random((1, 4, 8, 12, 3)), jnp.float32)
    variables = randomised(jax.jit(encoder.init)(jax.random.key(0), clips))
    visible = jnp.asarray([[0, 3, 7, 11]])
    patches = np.array(tubelets.patchify(clips, TUBELET))
    patches[:, np.setdiff1d(np.arange(TOKENS), visible)] = np.nan
    noisy = tubelets.unpatchify(jnp.asarray(patches), GRID, TUBELET)
    encode = jax.jit(encoder.apply)
    np.testing.assert_array_equal(
        encode(variables, noisy, visible), encode(variables, clips, visible)
    )


@pytest.mark.parametrize("backbone", vit.BACKBONES)
def test_a_classifier_takes_the_parameters_of_the_autoencoders_encoder(backbone):
    config = model_config(backbone=backbone)
    clips = jnp.zeros((1, 4, 8, 12, 3))
    ids = jnp.arange(8)[None]
    shapes = {
        name: jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"]["encoder"]
        for name, model, inputs in (
            ("pretrained", mae.make_autoencoder(config, 4, 8), (ids[:, :2], ids[:, 2:])),
            ("classifier", classifier.make_classifier(config, 4, 8, 5, final_norm=True), ()),
            ("probe", classifier.make_linear_probe(config, 4, 8, 5), ()),
        )
        for inputs in [(clips[:, :, :, :8], *inputs)]
    }
    assert shapes["classifier"] == shapes["pretrained"] == shapes["probe"]
    assert ("positions" in shapes["probe"]) == (backbone != "vit")


def test_an_unknown_backbone_is_refused():
    config = model_config(backbone="timesformer")
    message = "backbone='timesformer' is not one of vit, timesformer_divided, timesformer_joint"
    with pytest.raises(ConfigError, match=message):
        mae.make_autoencoder(config, 4, 8)
    with pytest.raises(ConfigError, match=message):
        classifier.make_classifier(config, 4, 8, 5)
