"""What the decoder must predict, and how far it is from it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int

from mgm_jax.models import patches as patches_lib


def patch_statistics(
    patches: Float[Array, "b n d"], channels: int = 3
) -> tuple[Float32[Array, "b n 1 {channels}"], Float32[Array, "b n 1 {channels}"]]:
    """Mean and scale of each tubelet, per channel, as VideoMAE normalises its target.

    With p = d / channels pixels in a tubelet, `patches.reshape(b, n, p, channels)` equals
    mean + scale · target, by which a prediction turns back into pixels.

    Args:
        patches: Flattened tubelets, channels last.
        channels: Channels of a pixel.

    Returns:
        The mean, and the scale √(unbiased variance) + 1e-6.
    """
    b, n, _ = patches.shape
    pixels = patches.astype(jnp.float32).reshape(b, n, -1, channels)
    mean = pixels.mean(axis=2, keepdims=True)
    scale = pixels.std(axis=2, keepdims=True, ddof=1) + 1e-6
    return mean, scale


def normalised_pixel_target(
    clips: Float[Array, "b T H W c"],
    tubelet: tuple[int, int, int] = (2, 16, 16),
    masked_ids: Int[Array, "b n_masked"] | None = None,
    normalise: bool = True,
) -> Float32[Array, "b n d"]:
    """Makes the pixels to predict: each tubelet normalised per channel by its own statistics.

    (x - mean) / (√(unbiased variance) + 1e-6) over the p0·p1·p2 values of a channel (512 for
    2x16x16), as VideoMAE, in float32 whatever the compute dtype. The clips are in [0, 1], not
    normalised by a data set's mean and deviation.

    Args:
        clips: Clips in [0, 1].
        tubelet: Size of a tubelet in frames, pixels, pixels.
        masked_ids: Flat positions of the tokens wanted; None gives all.
        normalise: False leaves the pixels as they are.

    Returns:
        The target of each token, flattened as `patches.patchify` does, in the order of the ids.
    """
    patches = patches_lib.patchify(clips, tubelet)
    if masked_ids is not None:
        patches = patches_lib.gather_tokens(patches, masked_ids)
    patches = patches.astype(jnp.float32)
    if not normalise:
        return patches
    channels = clips.shape[-1]
    mean, scale = patch_statistics(patches, channels)
    b, n, d = patches.shape
    return ((patches.reshape(b, n, -1, channels) - mean) / scale).reshape(b, n, d)


def masked_mse(
    predictions: Float[Array, "b n d"],
    targets: Float[Array, "b n d"],
    weights: Float[Array, " b"] | Bool[Array, " b"],
) -> Float32[Array, ""]:
    """Mean squared error over the masked tokens of the clips that count.

    Args:
        predictions: Predictions for the masked tokens, in any float dtype.
        targets: Their targets.
        weights: Weight of each clip; 0 (False) for one that could not be read.

    Returns:
        Weighted mean over clips of the mean over a clip's values; 0 where all weights are 0.
    """
    error = jnp.square(predictions.astype(jnp.float32) - targets.astype(jnp.float32))
    per_clip = error.mean(axis=(1, 2))
    weights = weights.astype(jnp.float32)
    total = weights.sum()
    return (weights * per_clip).sum() / jnp.where(total > 0, total, 1.0)


def soft_cross_entropy(
    logits: Float[Array, "b c"],
    targets: Float[Array, "b c"],
    weights: Float[Array, " b"] | Bool[Array, " b"],
) -> Float32[Array, ""]:
    """Cross-entropy with target distributions, averaged over the clips that count.

    Args:
        logits: One row per clip, in any float dtype.
        targets: Probabilities of the classes.
        weights: Weight of each clip; 0 (False) for one that does not count.

    Returns:
        The weighted mean, in nats; 0 where all weights are 0.
    """
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    per_clip = -(targets.astype(jnp.float32) * log_probabilities).sum(axis=-1)
    weights = weights.astype(jnp.float32)
    total = weights.sum()
    return (weights * per_clip).sum() / jnp.where(total > 0, total, 1.0)
