"""The schedule against VideoMAE's, AdamW against numpy, and what decays."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import shrunk
import tiny_models

from mgm_jax.models import classifier
from mgm_jax.models.layers import TransformerConfig
from mgm_jax.training import optimizer as optim


def optimizer_config(**changes):
    config = shrunk.get_config("ssv2_pretrain").optimizer
    config.update(changes)
    return config


def videomae_schedule(peak, minimum, total, warmup, start=0.0):
    """The list of VideoMAE's utils.cosine_scheduler."""
    rates = list(np.linspace(start, peak, warmup)) if warmup else []
    steps = total - warmup
    for i in range(steps):
        rates.append(minimum + 0.5 * (peak - minimum) * (1 + math.cos(math.pi * i / steps)))
    return np.array(rates)


@pytest.mark.parametrize("start", [0.0, 1e-6])
@pytest.mark.parametrize(("total", "warmup"), [(40, 8), (40, 0), (40, 1), (40, 2), (7, 7), (1, 0)])
def test_schedule_is_videomaes(total, warmup, start):
    schedule = optim.make_schedule(3e-4, 2e-5, total, warmup, start)
    rates = jax.vmap(schedule)(jnp.arange(total))
    expected = videomae_schedule(3e-4, 2e-5, total, warmup, start)
    np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-10)
    if warmup < total:
        np.testing.assert_allclose(schedule(total), 2e-5, rtol=1e-5)


def names(tree):
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): value
        for path, value in jax.tree_util.tree_leaves_with_path(tree)
    }


@pytest.mark.parametrize("backbone", ["vit", "timesformer_divided"])
def test_all_kernels_and_nothing_else_decay(backbone):
    model = tiny_models.autoencoder(backbone=backbone)
    decays = names(
        optim.weight_decay_mask(tiny_models.shapes(model, tiny_models.clips(), *tiny_models.ids()))
    )
    kernels = {name for name in decays if name.endswith("/kernel")}
    assert {name for name, decayed in decays.items() if decayed} == kernels
    assert {"mask_token", "encoder/blocks/0/attention/q_bias"} <= decays.keys()
    assert {"encoder/embed/kernel", "decoder/head/kernel"} <= kernels


def test_biases_of_a_probes_heads_do_not_decay():
    params = {"heads": {"kernel": jnp.zeros((2, 8, 5)), "bias": jnp.zeros((2, 5))}}
    expected = {"heads": {"kernel": True, "bias": False}}
    assert optim.weight_decay_mask(params) == expected


def test_layer_decay_of_every_parameter_of_a_classifier():
    config = TransformerConfig(dim=8, depth=3, heads=2, backbone="timesformer_joint")
    model = classifier.Classifier(config, (2, 2, 2), 5, (2, 4, 4))
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 4, 8, 8, 3)))["params"]
    multipliers = names(optim.layer_decay_multipliers(params, 0.5, 3))
    assert multipliers.keys() == names(params).keys()
    # VideoMAE's list for three blocks: the embedding, the blocks, and what follows them.
    by_part = {
        "encoder/embed": 0.0625,
        "encoder/positions": 0.0625,
        "encoder/blocks/0": 0.125,
        "encoder/blocks/1": 0.25,
        "encoder/blocks/2": 0.5,
        "norm": 1.0,
        "head": 1.0,
    }
    for name, multiplier in multipliers.items():
        assert [multiplier] == [by_part[part] for part in by_part if name.startswith(f"{part}/")]


def test_multipliers_scale_the_step_and_the_weight_decay():
    """Against AdamW by hand with a learning rate per parameter, as VideoMAE's groups have it."""
    config = optimizer_config(base_lr=2e-2, min_lr=1e-3, weight_decay=0.1, clip_norm=1e6)
    multipliers = {
        "encoder": {"kernel": 0.25},
        "heads": {"kernel": np.array([1.0, 10.0], np.float32)[:, None, None]},
        "frozen": {"kernel": 0.0},
        "norm": {"scale": 1.0},
    }
    shapes = {"encoder": (3, 4), "heads": (2, 3, 4), "frozen": (3, 4), "norm": (4,)}
    names = {part: next(iter(leaf)) for part, leaf in multipliers.items()}
    optimizer, _ = optim.make_optimizer(config, 10, 0, 512, multipliers)
    r = np.random.default_rng(0)
    params = {part: r.standard_normal(shape) for part, shape in shapes.items()}
    start = {part: value.copy() for part, value in params.items()}

    def on_device(tree):
        return {part: {names[part]: jnp.asarray(x, jnp.float32)} for part, x in tree.items()}

    device = on_device(params)
    state = optimizer.init(device)
    first = {part: np.zeros(shape) for part, shape in shapes.items()}
    second = {part: np.zeros(shape) for part, shape in shapes.items()}
    rates = videomae_schedule(4e-2, 2e-3, 10, 0)
    for step in range(3):
        gradients = {part: r.standard_normal(shape) for part, shape in shapes.items()}
        for part, gradient in gradients.items():
            first[part] = 0.9 * first[part] + 0.1 * gradient
            second[part] = 0.95 * second[part] + 0.05 * gradient**2
            update = (first[part] / (1 - 0.9 ** (step + 1))) / (
                np.sqrt(second[part] / (1 - 0.95 ** (step + 1))) + 1e-8
            )
            rate = rates[step] * multipliers[part][names[part]]
            decay = 0.0 if part == "norm" else 0.1
            params[part] = params[part] * (1 - rate * decay) - rate * update
        updates, state = optimizer.update(on_device(gradients), state, device)
        device = optax.apply_updates(device, updates)
    for part, value in params.items():
        np.testing.assert_allclose(device[part][names[part]], value, rtol=2e-5, atol=1e-6)
    np.testing.assert_array_equal(device["frozen"]["kernel"], start["frozen"].astype(np.float32))
    assert abs(params["heads"] - start["heads"]).max() > 0.1


def test_clipping_comes_before_the_multipliers():
    params = {"a": jnp.zeros((2, 2)), "b": jnp.zeros((2, 2))}
    gradients = {"a": jnp.full((2, 2), 3.0), "b": jnp.full((2, 2), 4.0)}  # of norm 10
    config = optimizer_config(clip_norm=1.0)
    optimizer, _ = optim.make_optimizer(config, 10, 0, 256, {"a": 0.0, "b": 1.0})
    _, state = optimizer.update(gradients, optimizer.init(params), params)
    moments = optax.tree_utils.tree_get(state, "mu")
    np.testing.assert_allclose(moments["b"], 0.1 * 0.4, rtol=1e-5)


def test_the_warm_up_starts_where_the_config_says_scaled_with_the_batch():
    config = optimizer_config(base_lr=1.5e-4, warmup_lr=1e-6)
    _, schedule = optim.make_optimizer(config, 10, 4, 512)
    assert float(schedule(0)) == pytest.approx(2e-6)
    assert float(schedule(3)) == pytest.approx(3e-4)
