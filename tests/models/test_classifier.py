"""Classifiers against what they are said to be: pool, norm, head; and a probe that leaves its
encoder alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import traverse_util
from ml_collections import ConfigDict

from mgm_jax.models import classifier, layers, mae, vit

GRID, TUBELET, CLASSES = (2, 2, 3), (2, 4, 4), 5
SETTINGS = vit.TransformerSettings(16, 1, 2)


def model_config(**changes):
    config = ConfigDict(
        {
            "size": "Ti",
            "tubelet": TUBELET,
            "dtype": "float32",
            "drop_path": 0.0,
            "attention": "xla",
            "remat": False,
            "encoder": {"dim": 16, "depth": 2, "heads": 2},
        }
    )
    config.update(changes)
    return config


@functools.cache
def some_clips():
    return jnp.asarray(np.random.default_rng(0).random((3, 4, 8, 12, 3)), jnp.float32)


@functools.partial(jax.jit, static_argnums=(0, 3), static_argnames="method")
def run(model, variables, clips, train=False, key=None, method=None):
    rngs = {} if key is None else {"dropout": key}
    options = (train,) if train else ()
    return model.apply(variables, clips, *options, rngs=rngs, method=method)


def moved(variables, seed=0):
    """Variables off their starting values, so that zeros and ones hide nothing."""
    r = np.random.default_rng(seed)
    return jax.tree.map(
        lambda v: v + jnp.asarray(0.2 * r.standard_normal(v.shape), v.dtype), variables
    )


@functools.cache
def tiny_classifier():
    model = classifier.Classifier(SETTINGS, GRID, CLASSES, TUBELET)
    return model, jax.jit(model.init)(jax.random.key(0), some_clips())


@functools.cache
def tiny_probe(batch_norm):
    model = classifier.LinearProbe(SETTINGS, GRID, CLASSES, 3, batch_norm, TUBELET)
    return model, jax.jit(model.init)(jax.random.key(0), some_clips())


def shapes(params):
    return {k: v.shape for k, v in traverse_util.flatten_dict(params, sep="/").items()}


def test_logits_are_head_of_norm_of_mean_of_tokens():
    model, variables = tiny_classifier()
    variables = moved(variables)
    p = variables["params"]
    encoder = vit.Encoder(SETTINGS, GRID, TUBELET, final_norm=False)
    tokens = np.asarray(run(encoder, {"params": p["encoder"]}, some_clips()))
    pooled = tokens.mean(1)
    features = run(model, variables, some_clips(), method="features")
    np.testing.assert_allclose(features, pooled, atol=1e-5)
    centred = pooled - pooled.mean(-1, keepdims=True)
    normed = centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-6)
    normed = normed * p["norm"]["scale"] + p["norm"]["bias"]
    expected = normed @ p["head"]["kernel"] + p["head"]["bias"]
    np.testing.assert_allclose(run(model, variables, some_clips()), expected, atol=1e-4)


def test_encoder_without_final_norm_gives_what_the_norm_would_get():
    encoder = vit.Encoder(SETTINGS, GRID, TUBELET)
    variables = moved(jax.jit(encoder.init)(jax.random.key(0), some_clips()))
    tokens = run(encoder.clone(final_norm=False), variables, some_clips())
    norm = {"params": variables["params"]["norm"]}
    expected = layers.LayerNorm().apply(norm, tokens)
    np.testing.assert_allclose(run(encoder, variables, some_clips()), expected, atol=1e-5)


def test_pretrained_encoder_drops_in():
    ids = jnp.tile(jnp.arange(12), (3, 1))
    inputs = (some_clips(), ids[:, :4], ids[:, 4:])
    autoencoder = mae.MaskedAutoencoder(
        vit.AutoencoderSettings(SETTINGS, vit.TransformerSettings(8, 1, 2)), GRID, TUBELET
    )
    pretrained = jax.jit(autoencoder.init)(jax.random.key(1), *inputs)["params"]
    _, variables = tiny_classifier()
    ours = shapes(variables["params"]["encoder"])
    theirs = shapes(pretrained["encoder"])
    assert theirs.keys() - ours.keys() == {"norm/scale", "norm/bias"}
    assert ours == {name: theirs[name] for name in ours}
    probe, variables = tiny_probe(False)
    assert shapes(variables["params"]["encoder"]) == theirs
    variables = {"params": variables["params"] | {"encoder": pretrained["encoder"]}}
    tokens = run(autoencoder, {"params": pretrained}, some_clips(), method="encode")
    features = run(probe, variables, some_clips(), method="features")
    np.testing.assert_allclose(features, np.asarray(tokens).mean(1), atol=1e-5)


def test_final_norm_is_kept_on_request():
    model, _ = tiny_classifier()
    model = model.clone(final_norm=True)
    variables = jax.jit(model.init)(jax.random.key(0), some_clips())
    assert "norm" in variables["params"]["encoder"]
    encoder = vit.Encoder(SETTINGS, GRID, TUBELET)
    tokens = run(encoder, {"params": variables["params"]["encoder"]}, some_clips())
    features = run(model, variables, some_clips(), method="features")
    np.testing.assert_allclose(features, np.asarray(tokens).mean(1), atol=1e-5)


def test_head_starts_near_zero():
    config = model_config(encoder={"dim": 256, "depth": 1, "heads": 2})
    model = classifier.make_classifier(config, 4, 8, 400)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 4, 8, 8, 3)))["params"]
    kernel = np.asarray(params["head"]["kernel"])
    assert kernel.shape == (256, 400)
    assert kernel.std() == pytest.approx(2e-5, rel=0.02)
    assert not np.any(params["head"]["bias"])
    model = classifier.make_classifier(config, 4, 8, 400, init_scale=1.0)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 4, 8, 8, 3)))["params"]
    assert np.asarray(params["head"]["kernel"]).std() == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize("option", ["drop_path", "dropout"])
def test_training_drops_at_random_and_evaluation_does_not(option):
    # Drop path grows from 0 at the first block, so it takes two.
    model = tiny_classifier()[0].clone(settings=vit.TransformerSettings(16, 2, 2))
    variables = moved(jax.jit(model.init)(jax.random.key(0), some_clips()))
    dropping = model.clone(**{option: 0.5})
    expected = run(model, variables, some_clips())
    np.testing.assert_array_equal(run(dropping, variables, some_clips()), expected)

    def train(seed, method=None):
        return run(dropping, variables, some_clips(), True, jax.random.key(seed), method=method)

    assert not np.allclose(train(0), train(1))
    np.testing.assert_array_equal(train(0), train(0))
    still = run(model, variables, some_clips(), method="features")
    assert np.allclose(train(0, method="features"), still) == (option == "dropout")


def test_bfloat16_gives_float32_logits_close_by():
    model, variables = tiny_classifier()
    variables = moved(variables)
    logits = run(model.clone(dtype=jnp.bfloat16), variables, some_clips())
    assert logits.dtype == jnp.float32
    expected = np.asarray(run(model, variables, some_clips()))
    assert np.abs(logits - expected).max() < 0.05 * np.abs(expected).max()


def test_every_parameter_of_the_classifier_learns():
    model, variables = tiny_classifier()
    variables = moved(variables)
    labels = jnp.array([0, 1, 2])

    def loss(variables, model):
        logits = model.apply(variables, some_clips(), True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    plain = jax.jit(jax.grad(loss), static_argnums=1)(variables, model)
    for path, value in jax.tree_util.tree_leaves_with_path(plain):
        assert np.any(np.asarray(value) != 0), path
    again = jax.jit(jax.grad(loss), static_argnums=1)(variables, model.clone(remat=True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), plain, again)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_probe_heads_are_independent_linear_maps(batch_norm):
    model, variables = tiny_probe(batch_norm)
    params = moved(variables["params"])
    variables = variables | {"params": params}
    features = np.asarray(run(model, variables, some_clips(), method="features"))
    logits = run(model, variables, some_clips())
    assert logits.shape == (3, 3, CLASSES)
    assert logits.dtype == jnp.float32
    assert shapes(params["heads"]) == {"kernel": (3, 16, CLASSES), "bias": (3, CLASSES)}
    if batch_norm:
        features = features / np.sqrt(1 + 1e-6)  # Running statistics start at mean 0, variance 1.
    for head in range(3):
        expected = features @ params["heads"]["kernel"][head] + params["heads"]["bias"][head]
        np.testing.assert_allclose(logits[head], expected, atol=1e-4)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_probe_trains_its_heads_only(batch_norm):
    model, variables = tiny_probe(batch_norm)
    statistics = {k: v for k, v in variables.items() if k != "params"}

    def loss(params):
        logits, _ = model.apply(
            {"params": moved(params), **statistics}, some_clips(), True, mutable=["batch_stats"]
        )
        return jnp.square(logits).sum()

    gradient = jax.jit(jax.grad(loss))(variables["params"])
    assert not any(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(gradient["encoder"]))
    assert all(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(gradient["heads"]))


def test_batch_norm_standardises_and_keeps_running_statistics():
    model, variables = tiny_probe(True)
    assert set(variables["params"]) == {"encoder", "heads"}
    features = jnp.asarray(np.random.default_rng(2).normal(3, 2, (8, 16)), jnp.float32)
    valid = jnp.arange(8) < 6
    logits, changed = model.apply(
        variables, features, True, valid, method="classify", mutable=["batch_stats"]
    )
    counted = np.asarray(features)[:6]
    mean, var = counted.mean(0), counted.var(0)
    normed = (features - mean) / np.sqrt(var + 1e-6)
    expected = np.einsum("bd,hdc->hbc", normed, variables["params"]["heads"]["kernel"])
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    running = changed["batch_stats"]["normalise"]
    np.testing.assert_allclose(running["mean"], 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(running["var"], 0.9 + 0.1 * var, rtol=1e-4)


def test_config_reaches_every_part():
    stacks = []

    def note(call, args, kwargs, context):
        if isinstance(context.module, layers.Blocks):
            stacks.append(context.module)
            return args[0]
        return call(*args, **kwargs)

    config = model_config(dtype="bfloat16", drop_path=0.1, remat=True, attention="cudnn")
    finetuned = classifier.make_classifier(config, 4, 8, CLASSES, dropout=0.3, final_norm=True)
    probe = classifier.make_linear_probe(config, 4, 8, CLASSES, num_heads=2, batch_norm=True)
    assert finetuned.grid == probe.grid == (2, 2, 2)
    assert (finetuned.dropout, finetuned.final_norm) == (0.3, True)
    with nn.intercept_methods(note):
        for model in (finetuned, probe):
            jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 4, 8, 8, 3)))
    assert [(s.depth, s.heads, s.dtype, s.attention) for s in stacks] == 2 * [
        (2, 2, jnp.bfloat16, "cudnn")
    ]
    assert [(s.drop_path, s.remat) for s in stacks] == [(0.1, True), (0.0, False)]


@pytest.mark.parametrize("make", [classifier.make_classifier, classifier.make_linear_probe])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": "Huge"}, "no model size named 'Huge'; choose one of Ti, S, B, L, H"),
        ({"dtype": "float16"}, "no compute dtype 'float16'"),
        ({"tubelet": (2, 3, 3)}, r"does not divide into tubelets of \(2, 3, 3\)"),
    ],
)
def test_bad_configs_are_refused(make, changes, message):
    with pytest.raises(ValueError, match=message):
        make(model_config(**changes), 4, 8, CLASSES)
