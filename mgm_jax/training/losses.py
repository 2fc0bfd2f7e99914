"""The pixels that the decoder predicts, and the losses."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32


@jax.named_scope("loss")
def pixel_target(
    patches: Float[Array, "b n c p"], normalise: bool = True, eps: float = 1e-6
) -> Float32[Array, "b n c p"]:
    """The pixels to predict: each tubelet and channel normalised by its own statistics.

    As in VideoMAE, over the 512 values of a channel in a tubelet of 2x16x16, with the unbiased
    variance. Computed in float32 whatever the type of the tubelets, which are RGB in [0, 1], not
    normalised by a data set's statistics. `normalise=False` returns the pixels as they are.

    `eps` is added to the standard deviation; VideoMAE's 1e-6 is too small for clips with flat areas
    (`base_config.pretrain`).
    """
    pixels = patches.astype(jnp.float32)
    if not normalise:
        return pixels
    mean = pixels.mean(axis=-1, keepdims=True)
    return (pixels - mean) / (pixels.std(axis=-1, keepdims=True, ddof=1) + eps)


@jax.named_scope("loss")
def masked_mse(
    predictions: Float[Array, "b n c p"],
    targets: Float[Array, "b n c p"],
    weights: Float[Array, " b"] | Bool[Array, " b"],
) -> Float32[Array, ""]:
    """Mean squared error over the masked tokens, as a weighted mean over clips, in float32."""
    error = jnp.square(predictions.astype(jnp.float32) - targets.astype(jnp.float32))
    return _weighted_mean(error.mean(axis=(1, 2, 3)), weights)


@jax.named_scope("loss")
def soft_cross_entropy(
    logits: Float[Array, "*heads b c"],
    targets: Float[Array, "b c"],
    weights: Float[Array, " b"] | Bool[Array, " b"],
) -> Float32[Array, "*heads"]:
    """Cross-entropy with target probabilities, in nats, as a weighted mean over clips."""
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    return _weighted_mean(-(targets.astype(jnp.float32) * log_probabilities).sum(axis=-1), weights)


def _weighted_mean(
    values: Float32[Array, "*heads b"], weights: Float[Array, " b"] | Bool[Array, " b"]
) -> Float32[Array, "*heads"]:
    """The mean over clips by their weights; 0 if all weights are 0."""
    weights = weights.astype(jnp.float32)
    total = weights.sum()
    return (weights * values).sum(axis=-1) / jnp.where(total > 0, total, 1.0)
