"""Actions of people in boxes: the encoder, RoIAlign over its tokens, and a linear layer."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Float32
from ml_collections import ConfigDict

from mgm_jax.models import vit
from mgm_jax.models.layers import Dense, TransformerConfig

_BINS = 7  # Rows and columns of a box's features, as in VideoMAE's AVA code.


class Detector(nn.Module):
    """VideoMAE's model for AVA: what each box of a clip shows, several actions at a time.

    Encoder with its final LayerNorm, mean over the tubelets, RoIAlign (7x7, as many samples as a
    bin has tokens), maximum over the 49 places, dropout, linear `head`. What follows the encoder
    is computed in float32.

    Attributes:
        dropout: Dropout rate before the head.
        init_scale: Factor on the head's initial weights, which are normal with standard deviation
            0.02.
    """

    encoder_config: TransformerConfig
    grid: tuple[int, int, int]
    num_classes: int
    tubelet: tuple[int, int, int] = (2, 16, 16)
    dropout: float = 0.0
    init_scale: float = 0.001

    def setup(self) -> None:
        """Makes the parts."""
        self.encoder = vit.Encoder(self.encoder_config, self.grid, self.tubelet)
        self.head_dropout = nn.Dropout(self.dropout)
        kernel_init = nn.initializers.normal(0.02 * self.init_scale)
        self.head = Dense(self.num_classes, kernel_init=kernel_init, dtype=jnp.float32)

    def __call__(
        self, clips: Float[Array, "b T H W c"], boxes: Float[Array, "b k 4"], train: bool = False
    ) -> Float32[Array, "b k {self.num_classes}"]:
        """Returns the logits of every class for every box.

        Args:
            clips: Normalised as the recipe says.
            boxes: x1, y1, x2, y2 in pixels, inside the clips.
            train: Whether drop path and dropout apply, which need the random stream "dropout".
        """
        tokens = self.encoder(clips, None, train).astype(jnp.float32)
        features = tokens.reshape(len(tokens), *self.grid, -1).mean(axis=1)
        _, height, width = self.tubelet
        found = roi_align(features, boxes / jnp.array([width, height, width, height]), _BINS)
        return self.head(self.head_dropout(found.max(axis=(2, 3)), deterministic=not train))


def roi_align(
    features: Float[Array, "b h w d"], boxes: Float[Array, "b k 4"], bins: int
) -> Float[Array, "b k {bins} {bins} d"]:
    """Torchvision's `roi_align` with `sampling_ratio=0`, not `aligned`, for boxes in the features.

    A box is divided into bins; a bin has the mean of evenly spaced samples, one for each place
    that it spans, rounded up; a sample is interpolated between its four neighbours. All of this is
    separable, so it is two matrix products per box.

    Args:
        features: A vector at every place.
        boxes: x1, y1, x2, y2 in places, from 0 to w and to h; 0 is the centre of the first place,
            and no side is shorter than one.
        bins: Rows and columns of the result.
    """
    x1, y1, x2, y2 = jnp.moveaxis(boxes, -1, 0)
    rows, columns = (
        _weights(start, jnp.maximum(end - start, 1.0), length, bins)
        for start, end, length in ((y1, y2, features.shape[1]), (x1, x2, features.shape[2]))
    )
    highest = jax.lax.Precision.HIGHEST
    found = jnp.einsum("bkih,bhwd->bkiwd", rows, features, precision=highest)
    return jnp.einsum("bkjw,bkiwd->bkijd", columns, found, precision=highest)


def _weights(
    start: Float[Array, "b k"], span: Float[Array, "b k"], length: int, bins: int
) -> Float[Array, "b k {bins} {length}"]:
    """What each place of an axis contributes to each bin of the `span` from `start` on."""
    start, span = start[..., None, None], span[..., None, None]
    samples = jnp.arange(math.ceil(length / bins))
    count = jnp.ceil(span / bins)
    places = start + (jnp.arange(bins)[:, None] + (samples + 0.5) / count) * span / bins
    counted = (samples < count) & (places >= -1) & (places <= length)
    nearest = jnp.clip(places, 0, length - 1)[..., None]
    weights = jnp.maximum(1 - jnp.abs(jnp.arange(length) - nearest), 0)
    return (weights * counted[..., None]).sum(axis=-2) / count


def make_detector(config: ConfigDict, num_classes: int) -> Detector:
    """Makes the detector of a run's config, without parameters.

    Raises:
        ConfigError: A value of `config.model` is unknown.
        ValueError: The clips do not divide into tubelets.
    """
    grid, tubelet = vit.token_shape(config)
    return Detector(
        vit.transformer_config(config.model, "encoder"),
        grid,
        num_classes,
        tubelet,
        dropout=config.model.head_dropout,
        init_scale=config.model.head_init_scale,
    )
