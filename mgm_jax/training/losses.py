"""The pixels that the decoder predicts, and the losses."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int

from mgm_jax.models import patches as patches_lib


def patch_statistics(
    patches: Float[Array, "b n d"], channels: int = 3
) -> tuple[Float32[Array, "b n 1 {channels}"], Float32[Array, "b n 1 {channels}"]]:
    """Mean and standard deviation + 1e-6 of each tubelet and channel, as VideoMAE normalises with.

    The variance is unbiased. With p = d / channels pixels in a tubelet,
    `patches.reshape(b, n, p, channels)` is mean + deviation · target, which turns a prediction back
    into pixels. Patches are flattened tubelets, channels last.
    """
    b, n, _ = patches.shape
    pixels = patches.astype(jnp.float32).reshape(b, n, -1, channels)
    mean = pixels.mean(axis=2, keepdims=True)
    return mean, pixels.std(axis=2, keepdims=True, ddof=1) + 1e-6


def normalised_pixel_target(
    clips: Float[Array, "b T H W c"],
    tubelet: tuple[int, int, int] = (2, 16, 16),
    masked_ids: Int[Array, "b n_masked"] | None = None,
    normalise: bool = True,
) -> Float32[Array, "b n d"]:
    """The pixels to predict: each tubelet and channel normalised by its own statistics.

    As in VideoMAE, over the 512 values of a channel in a tubelet of 2x16x16. Computed in float32
    whatever the type of the clips, which are RGB in [0, 1], not normalised by a data set's
    statistics. `normalise=False` returns the pixels as they are.

    Returns:
        The target of each masked token, or of all, flattened as by `patchify`, in the order of the
        ids.
    """
    patches = patches_lib.patchify(clips, tubelet)
    if masked_ids is not None:
        patches = patches_lib.gather_tokens(patches, masked_ids)
    patches = patches.astype(jnp.float32)
    if not normalise:
        return patches
    channels = clips.shape[-1]
    mean, deviation = patch_statistics(patches, channels)
    b, n, d = patches.shape
    return ((patches.reshape(b, n, -1, channels) - mean) / deviation).reshape(b, n, d)


def masked_mse(
    predictions: Float[Array, "b n d"],
    targets: Float[Array, "b n d"],
    weights: Float[Array, " b"] | Bool[Array, " b"],
) -> Float32[Array, ""]:
    """Mean squared error over the masked tokens, as a weighted mean over clips, in float32."""
    error = jnp.square(predictions.astype(jnp.float32) - targets.astype(jnp.float32))
    return _weighted_mean(error.mean(axis=(1, 2)), weights)


def soft_cross_entropy(
    logits: Float[Array, "b c"],
    targets: Float[Array, "b c"],
    weights: Float[Array, " b"] | Bool[Array, " b"],
) -> Float32[Array, ""]:
    """Cross-entropy with target probabilities, in nats, as a weighted mean over clips."""
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    return _weighted_mean(-(targets.astype(jnp.float32) * log_probabilities).sum(axis=-1), weights)


def _weighted_mean(
    values: Float32[Array, " b"], weights: Float[Array, " b"] | Bool[Array, " b"]
) -> Float32[Array, ""]:
    """The mean over clips by their weights; 0 if all weights are 0."""
    weights = weights.astype(jnp.float32)
    total = weights.sum()
    return (weights * values).sum() / jnp.where(total > 0, total, 1.0)
