"""Classifiers against their definition (pool, norm, head), and a probe that leaves its encoder
alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shrunk
from flax import traverse_util
from tiny_models import (
    CLASSES,
    GRID,
    TUBELET,
    autoencoder,
    classifier_of,
    clips,
    encoder_config,
    ids,
    random_params,
    shapes,
)

from mgm_jax.bounds import CHOICES
from mgm_jax.models import classifier, vit

HEADS = 3


def flat(tree):
    return {k: v.shape for k, v in traverse_util.flatten_dict(tree, sep="/").items()}


def probe_of(batch_norm=False, **options):
    return classifier.LinearProbe(
        encoder_config(**options), GRID, CLASSES, HEADS, batch_norm, TUBELET
    )


@functools.cache
def tiny_probe(batch_norm):
    model = probe_of(batch_norm)
    variables = {"params": random_params(model, clips())}
    if batch_norm:
        statistics = {"mean": jnp.zeros(16), "var": jnp.ones(16)}
        variables["batch_stats"] = {"normalise": statistics}
    return model, variables


@functools.partial(jax.jit, static_argnums=(0, 3))
def run(model, variables, clips, train=False, key=None):
    """Logits, and the features on the way to them."""
    logits, captured = model.apply(
        variables,
        clips,
        train,
        rngs={} if key is None else {"dropout": key},
        capture_intermediates=lambda _, method: method == "features",
        mutable=["intermediates"],
    )
    (features,) = captured["intermediates"]["features"]
    return logits, features


@functools.partial(jax.jit, static_argnums=2)
def encode(params, clips, final_norm):
    encoder = vit.Encoder(encoder_config(), GRID, TUBELET, final_norm=final_norm)
    return encoder.apply({"params": params}, clips)


def layer_norm(x, p):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.05)])
def test_logits_are_head_of_norm_of_mean_of_tokens(dtype, tolerance):
    model = classifier_of(dtype=dtype)
    params = random_params(model, clips())
    pooled = np.asarray(encode(params["encoder"], clips(), False)).mean(1)
    normed = layer_norm(pooled, params["norm"])
    expected = normed @ params["head"]["kernel"] + params["head"]["bias"]
    logits, features = run(model, {"params": params}, clips())
    assert logits.dtype == features.dtype == jnp.float32
    for found, true in ((features, pooled), (logits, expected)):
        np.testing.assert_allclose(found, true, rtol=0, atol=tolerance * np.abs(true).max())


@pytest.mark.parametrize("backbone", CHOICES["model.backbone"])
def test_the_encoder_of_pretraining_fits(backbone):
    pretrained = flat(shapes(autoencoder(backbone=backbone), clips(), *ids())["encoder"])
    finetuned = flat(shapes(classifier_of(backbone=backbone), clips())["encoder"])
    assert pretrained.keys() - finetuned.keys() == {"norm/scale", "norm/bias"}
    assert finetuned == {name: pretrained[name] for name in finetuned}
    assert flat(shapes(probe_of(backbone=backbone), clips())["encoder"]) == pretrained


def test_a_runs_config_makes_classifier_and_probe():
    changes = {"model__head_dropout": 0.3, "model__head_init_scale": 0.5, "model__remat": "full"}
    config = shrunk.recipe("k400_finetune", "unused", **changes)
    finetuned = classifier.make_classifier(config, 400)
    assert (finetuned.num_classes, finetuned.dropout) == (400, 0.3)
    clips = jnp.zeros((1, 8, 32, 32, 3))
    head = jax.jit(lambda: finetuned.init(jax.random.key(0), clips)["params"]["head"])()
    assert np.asarray(head["kernel"]).std() == pytest.approx(0.02 * 0.5, rel=0.02)
    assert not np.any(head["bias"])

    config = shrunk.recipe("small_linear_probe", "unused", model__remat="full")
    probe = classifier.make_linear_probe(config, 400)
    assert (probe.num_heads, probe.batch_norm, probe.encoder_config.remat) == (4, True, "none")


@pytest.mark.parametrize("option", ["drop_path", "dropout"])
def test_training_drops_at_random_and_evaluation_does_not(option):
    model = classifier_of()
    variables = {"params": random_params(model, clips())}
    dropping = model.clone(dropout=0.5) if option == "dropout" else classifier_of(drop_path=0.5)
    expected = run(model, variables, clips())
    np.testing.assert_array_equal(run(dropping, variables, clips())[0], expected[0])
    first, again, other = (
        run(dropping, variables, clips(), True, jax.random.key(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first[0], again[0])
    assert not np.allclose(first[0], other[0])
    assert np.allclose(first[1], expected[1]) == (option == "dropout")


@pytest.mark.parametrize("batch_norm", [False, True])
def test_probe_heads_are_independent_linear_maps_of_pooled_tokens(batch_norm):
    model, variables = tiny_probe(batch_norm)
    params = variables["params"]
    logits, features = run(model, variables, clips())
    tokens = encode(params["encoder"], clips(), True)
    np.testing.assert_allclose(features, np.asarray(tokens).mean(1), atol=1e-5)
    assert flat(params["heads"]) == {"kernel": (HEADS, 16, CLASSES), "bias": (HEADS, CLASSES)}
    for head in range(HEADS):
        # The running statistics are the initial ones: mean 0, variance 1.
        expected = features @ params["heads"]["kernel"][head] + params["heads"]["bias"][head]
        np.testing.assert_allclose(logits[head], expected, atol=1e-4)


def test_m3videos_probe_normalises_the_mean_of_tokens_without_the_encoders_norm():
    config = shrunk.recipe("transfer_linear_probe:probe=m3video", "unused")
    augment, probe = config.augment, classifier.make_linear_probe(config, CLASSES)
    assert (augment.rand_augment_layers, augment.erasing, augment.mixup, augment.cutmix) == (
        *(4, 0.25, 0.8, 1.0),
    )
    assert (augment.label_smoothing, config.data.area, config.warmup_epochs) == (0.1, (0.25, 1), 5)
    assert (config.optimizer.min_lr, probe.encoder_config.drop_path) == (1e-6, 0.1)
    assert probe.layer_norm
    model = probe_of().clone(layer_norm=True)
    params = random_params(model, clips())
    assert "norm" not in params["encoder"]
    _, features = run(model, {"params": params}, clips())
    mean = np.asarray(encode(params["encoder"], clips(), False)).mean(1)
    np.testing.assert_allclose(features, layer_norm(mean, {"scale": 1, "bias": 0}), atol=1e-4)


def test_batch_norm_standardises_and_keeps_running_statistics():
    model, variables = tiny_probe(True)
    four, valid = jnp.concatenate([clips(), 3 - 9 * clips()]), jnp.arange(4) < 3
    _, features = run(model, variables, four)
    logits, changed = model.apply(variables, four, True, valid, mutable=["batch_stats"])
    mean, var = np.mean(features[:3], axis=0), np.var(features[:3], axis=0)
    normed = (features - mean) / np.sqrt(var + 1e-6)
    heads = variables["params"]["heads"]
    expected = np.einsum("bd,hdc->hbc", normed, heads["kernel"]) + heads["bias"][:, None]
    np.testing.assert_allclose(logits, expected, atol=1e-3)
    running = changed["batch_stats"]["normalise"]
    np.testing.assert_allclose(running["mean"], 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(running["var"], 0.9 + 0.1 * var, rtol=1e-4)
