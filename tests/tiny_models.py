"""Small models, their inputs, and random parameters, so that initial zeros hide nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mgm_jax.models import classifier, mae
from mgm_jax.models.layers import TransformerConfig

GRID, TUBELET, TOKENS, CLASSES = (2, 2, 3), (2, 4, 4), 12, 5


def encoder_config(**changes):
    return TransformerConfig(16, 2, 2, **changes)


def autoencoder(**changes):
    """With options of the encoder; the decoder takes all but the backbone."""
    shared = {name: value for name, value in changes.items() if name != "backbone"}
    decoder = TransformerConfig(8, 1, 2, **shared)
    return mae.MaskedAutoencoder(encoder_config(**changes), decoder, GRID, TUBELET)


def classifier_of(**changes):
    return classifier.Classifier(encoder_config(**changes), GRID, CLASSES, TUBELET)


@functools.cache
def clips():
    return jnp.asarray(np.random.default_rng(0).random((2, 4, 8, 12, 3)), jnp.float32)


@functools.cache
def ids():
    """Visible and masked ones, in random order."""
    r = np.random.default_rng(1)
    order = jnp.asarray(np.stack([r.permutation(TOKENS) for _ in range(2)]))
    return order[:, :4], order[:, 4:]


def shapes(model, *inputs):
    return jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"]


def random_params(model, *inputs):
    r = np.random.default_rng(2)
    return jax.tree.map(
        lambda leaf: (0.3 * r.standard_normal(leaf.shape)).astype(np.float32),
        shapes(model, *inputs),
    )


def assert_close(actual, expected, rtol=1e-4, atol=1e-5):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), actual, expected
    )
