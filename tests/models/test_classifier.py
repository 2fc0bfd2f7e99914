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

from mgm_jax.models import blocks, classifier, mae, vit

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


def shapes(model, *more):
    """Shapes of a model's variables."""
    return jax.eval_shape(model.init, jax.random.key(0), some_clips(), *more)


def flat(tree):
    return {k: v.shape for k, v in traverse_util.flatten_dict(tree, sep="/").items()}


def random_params(model):
    """Parameters off their starting values, so that zeros and ones hide nothing."""
    r = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.3 * r.standard_normal(leaf.shape), leaf.dtype),
        shapes(model)["params"],
    )


@functools.cache
def tiny_classifier():
    model = classifier.Classifier(SETTINGS, GRID, CLASSES, TUBELET)
    return model, random_params(model)


@functools.cache
def tiny_probe(batch_norm):
    model = classifier.LinearProbe(SETTINGS, GRID, CLASSES, 3, batch_norm, TUBELET)
    variables = {"params": random_params(model)}
    if batch_norm:
        statistics = {"mean": jnp.zeros(16), "var": jnp.ones(16)}
        variables["batch_stats"] = {"normalise": statistics}
        assert flat(variables) == flat(shapes(model))
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


@functools.partial(jax.jit, static_argnums=0)
def encode(encoder, params, clips):
    return encoder.apply({"params": params}, clips)


def layer_norm(x, p):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]


def test_logits_are_head_of_norm_of_mean_of_tokens():
    model, params = tiny_classifier()
    assert "norm" not in params["encoder"]
    encoder = vit.Encoder(SETTINGS, GRID, TUBELET, final_norm=False)
    pooled = np.asarray(encode(encoder, params["encoder"], some_clips())).mean(1)
    logits, features = run(model, {"params": params}, some_clips())
    np.testing.assert_allclose(features, pooled, atol=1e-5)
    normed = layer_norm(pooled, params["norm"])
    expected = normed @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_final_norm_is_kept_on_request():
    model = tiny_classifier()[0].clone(final_norm=True)
    params = random_params(model)
    norm = params["encoder"]["norm"]
    encoder = vit.Encoder(SETTINGS, GRID, TUBELET, final_norm=False)
    without = {name: part for name, part in params["encoder"].items() if name != "norm"}
    tokens = np.asarray(encode(encoder, without, some_clips()))
    _, features = run(model, {"params": params}, some_clips())
    np.testing.assert_allclose(features, layer_norm(tokens, norm).mean(1), atol=1e-5)


def test_pretrained_encoder_drops_in():
    ids = jnp.tile(jnp.arange(12), (3, 1))
    autoencoder = mae.MaskedAutoencoder(
        vit.AutoencoderSettings(SETTINGS, vit.TransformerSettings(8, 1, 2)), GRID, TUBELET
    )
    pretrained = flat(shapes(autoencoder, ids[:, :4], ids[:, 4:])["params"]["encoder"])
    finetuned = flat(tiny_classifier()[1]["encoder"])
    assert pretrained.keys() - finetuned.keys() == {"norm/scale", "norm/bias"}
    assert finetuned == {name: pretrained[name] for name in finetuned}
    assert flat(tiny_probe(False)[1]["params"]["encoder"]) == pretrained


def test_head_starts_near_zero():
    config = model_config(encoder={"dim": 64, "depth": 1, "heads": 2})
    for scale in (0.001, 1.0):
        model = classifier.make_classifier(config, 4, 8, 400, init_scale=scale)

        @jax.jit
        def head(key, clips, model=model):
            return model.init(key, clips)["params"]["head"]

        head = head(jax.random.key(0), jnp.zeros((1, 4, 8, 8, 3)))
        assert head["kernel"].shape == (64, 400)
        assert np.asarray(head["kernel"]).std() == pytest.approx(0.02 * scale, rel=0.02)
        assert not np.any(head["bias"])


@pytest.mark.parametrize("option", ["drop_path", "dropout"])
def test_training_drops_at_random_and_evaluation_does_not(option):
    # Drop path grows from 0 at the first block, so it takes two.
    model = tiny_classifier()[0].clone(settings=vit.TransformerSettings(16, 2, 2))
    variables = {"params": random_params(model)}
    dropping = model.clone(**{option: 0.5})
    expected = run(model, variables, some_clips())
    np.testing.assert_array_equal(run(dropping, variables, some_clips())[0], expected[0])
    first, again, other = (
        run(dropping, variables, some_clips(), True, jax.random.key(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first[0], again[0])
    assert not np.allclose(first[0], other[0])
    assert np.allclose(first[1], expected[1]) == (option == "dropout")


def test_bfloat16_gives_float32_logits_close_by():
    model, params = tiny_classifier()
    expected, _ = run(model, {"params": params}, some_clips())
    logits, features = run(model.clone(dtype=jnp.bfloat16), {"params": params}, some_clips())
    assert logits.dtype == features.dtype == jnp.float32
    assert not np.array_equal(logits, expected)
    assert np.abs(logits - expected).max() < 0.05 * np.abs(expected).max()


def test_every_parameter_of_the_classifier_learns():
    model, params = tiny_classifier()

    @jax.jit
    @jax.grad
    def gradient(params):
        logits = model.apply({"params": params}, some_clips(), True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, jnp.arange(3)).mean()

    for path, value in jax.tree_util.tree_leaves_with_path(gradient(params)):
        assert np.any(np.asarray(value) != 0), path


@pytest.mark.parametrize("batch_norm", [False, True])
def test_probe_heads_are_independent_linear_maps_of_pooled_tokens(batch_norm):
    model, variables = tiny_probe(batch_norm)
    params = variables["params"]
    logits, features = run(model, variables, some_clips())
    tokens = encode(vit.Encoder(SETTINGS, GRID, TUBELET), params["encoder"], some_clips())
    np.testing.assert_allclose(features, np.asarray(tokens).mean(1), atol=1e-5)
    assert logits.shape == (3, 3, CLASSES)
    assert flat(params["heads"]) == {"kernel": (3, 16, CLASSES), "bias": (3, CLASSES)}
    for head in range(3):
        # The running statistics are those of the start: mean 0, variance 1.
        expected = features @ params["heads"]["kernel"][head] + params["heads"]["bias"][head]
        np.testing.assert_allclose(logits[head], expected, atol=1e-4)


def test_probe_trains_its_heads_only():
    model, variables = tiny_probe(True)

    @jax.jit
    @jax.grad
    def gradient(params):
        logits, _ = model.apply(
            {**variables, "params": params}, some_clips(), True, mutable=["batch_stats"]
        )
        return jnp.square(logits).sum()

    gradient = gradient(variables["params"])
    assert not any(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(gradient["encoder"]))
    assert all(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(gradient["heads"]))


def test_batch_norm_standardises_and_keeps_running_statistics():
    model, variables = tiny_probe(True)
    features = jnp.asarray(np.random.default_rng(2).normal(3, 2, (8, 16)), jnp.float32)
    valid = jnp.arange(8) < 6
    logits, changed = model.apply(
        variables, features, True, valid, method="classify", mutable=["batch_stats"]
    )
    counted = np.asarray(features)[:6]
    mean, var = counted.mean(0), counted.var(0)
    normed = (features - mean) / np.sqrt(var + 1e-6)
    heads = variables["params"]["heads"]
    expected = np.einsum("bd,hdc->hbc", normed, heads["kernel"]) + heads["bias"][:, None]
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    running = changed["batch_stats"]["normalise"]
    np.testing.assert_allclose(running["mean"], 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(running["var"], 0.9 + 0.1 * var, rtol=1e-4)


def test_config_reaches_every_part():
    stacks = []

    def note(call, args, kwargs, context):
        if isinstance(context.module, blocks.Blocks):
            stacks.append(context.module)
            return args[0]
        return call(*args, **kwargs)

    config = model_config(dtype="bfloat16", drop_path=0.1, remat=True, attention="cudnn")
    finetuned = classifier.make_classifier(config, 4, 8, CLASSES, dropout=0.3, final_norm=True)
    probe = classifier.make_linear_probe(config, 4, 8, CLASSES, num_heads=2, batch_norm=True)
    assert finetuned.grid == probe.grid == (2, 2, 2)
    assert (finetuned.dropout, finetuned.final_norm) == (0.3, True)
    assert (probe.num_heads, probe.batch_norm) == (2, True)
    with nn.intercept_methods(note):
        for model in (finetuned, probe):
            jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 4, 8, 8, 3)))
    assert [(s.depth, s.heads, s.dtype, s.attention) for s in stacks] == 2 * [
        (2, 2, jnp.bfloat16, "cudnn")
    ]
    assert [(s.drop_path, s.remat) for s in stacks] == [(0.1, "full"), (0.0, "none")]


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
