"""Classifiers on the encoder: finetuned as a whole, or linear probes of a frozen one."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Float32
from ml_collections import ConfigDict

from mgm_jax.models import vit
from mgm_jax.models.layers import Dense, LayerNorm, TransformerConfig


class Classifier(nn.Module):
    """VideoMAE's finetuning model: encode all tokens, pool them, classify.

    Encoder, mean over the tokens, LayerNorm `norm` (VideoMAE's fc_norm), dropout, linear `head`.
    The parameters of the encoder have the same paths as in `mae.MaskedAutoencoder`, so pretrained
    ones can be used as they are; as in VideoMAE, its own final LayerNorm is left out. What follows
    the encoder is computed in float32.

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
        self.encoder = vit.Encoder(self.encoder_config, self.grid, self.tubelet, final_norm=False)
        self.norm = LayerNorm(dtype=jnp.float32)
        self.head_dropout = nn.Dropout(self.dropout)
        # VideoMAE truncates at ±2, a hundred standard deviations, which changes nothing.
        kernel_init = nn.initializers.normal(0.02 * self.init_scale)
        self.head = Dense(self.num_classes, kernel_init=kernel_init, dtype=jnp.float32)

    def __call__(
        self, clips: Float[Array, "b T H W c"], train: bool = False
    ) -> Float32[Array, "b {self.num_classes}"]:
        """Returns the logits of clips, normalized as the recipe says.

        With `train`, drop path and dropout need the random stream "dropout".
        """
        features = self.norm(self.features(clips, train))
        return self.head(self.head_dropout(features, deterministic=not train))

    def features(
        self, clips: Float[Array, "b T H W c"], train: bool = False
    ) -> Float32[Array, "b d"]:
        """Returns the mean over the encoder's output tokens, before `norm`, dropout and head."""
        return self.encoder(clips, None, train).astype(jnp.float32).mean(axis=1)


class ParallelHeads(nn.Module):
    """Independent linear classifiers of the same features, to compare settings in one run.

    They start normal with standard deviation 0.01, as in MAE (the MGM paper says nothing).
    """

    num_heads: int
    num_classes: int

    @nn.compact
    def __call__(
        self, features: Float[Array, "b d"]
    ) -> Float32[Array, "{self.num_heads} b {self.num_classes}"]:
        """Returns the logits of every head."""
        shape = (self.num_heads, features.shape[-1], self.num_classes)
        kernel = self.param("kernel", nn.initializers.normal(0.01), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.num_heads, self.num_classes))
        logits = jnp.einsum("bd,hdc->hbc", features.astype(jnp.float32), kernel)
        return logits + bias[:, None]


class LinearProbe(nn.Module):
    """Linear classifiers of a frozen encoder's features, one per setting to compare.

    The encoder is that of pretraining, with its final LayerNorm; its tokens are averaged; no
    gradient flows back.

    Attributes:
        batch_norm: Whether features first pass a BatchNorm without scale and bias, as in MAE's
            probes; its running statistics are in the collection "batch_stats".
        layer_norm: Whether the mean passes a LayerNorm without scale and bias instead of its tokens
            passing the encoder's own, as in M³Video's probe.
    """

    encoder_config: TransformerConfig
    grid: tuple[int, int, int]
    num_classes: int
    num_heads: int = 1
    batch_norm: bool = False
    tubelet: tuple[int, int, int] = (2, 16, 16)
    layer_norm: bool = False

    def setup(self) -> None:
        """Makes the parts."""
        final_norm = not self.layer_norm
        self.encoder = vit.Encoder(self.encoder_config, self.grid, self.tubelet, final_norm)
        self.mean_norm = LayerNorm(use_scale=False, use_bias=False)
        if self.batch_norm:
            # Flax's momentum is the share of the old statistics; torch would call this 0.1.
            self.normalise = nn.BatchNorm(
                use_scale=False, use_bias=False, momentum=0.9, epsilon=1e-6, dtype=jnp.float32
            )
        self.heads = ParallelHeads(self.num_heads, self.num_classes)

    def __call__(
        self,
        clips: Float[Array, "b T H W c"],
        train: bool = False,
        valid: Bool[Array, " b"] | None = None,
    ) -> Float32[Array, "{self.num_heads} b {self.num_classes}"]:
        """Returns the logits of every head.

        Args:
            clips: Clips, normalized as the recipe says.
            train: Whether to apply drop path, which needs the random stream "dropout", and whether
                the BatchNorm uses the statistics of this batch and updates the running ones, for
                which "batch_stats" must be mutable.
            valid: Clips that count in these statistics; None for all.
        """
        features = self.features(clips, train)
        if self.batch_norm:
            mask = None if valid is None else valid[:, None]
            features = self.normalise(features, use_running_average=not train, mask=mask)
        return self.heads(features)

    def features(
        self, clips: Float[Array, "b T H W c"], train: bool = False
    ) -> Float32[Array, "b d"]:
        """Returns the mean over the encoder's output tokens, before the BatchNorm."""
        mean = self.encoder(clips, None, train).astype(jnp.float32).mean(axis=1)
        return jax.lax.stop_gradient(self.mean_norm(mean) if self.layer_norm else mean)


def make_classifier(config: ConfigDict, num_classes: int) -> Classifier:
    """Makes the classifier of a finetuning run's config, without parameters.

    Raises:
        ConfigError: A value of `config.model` is unknown.
        ValueError: The clips do not divide into tubelets.
    """
    grid, tubelet = vit.token_shape(config)
    return Classifier(
        vit.transformer_config(config.model, "encoder"),
        grid,
        num_classes,
        tubelet,
        dropout=config.model.head_dropout,
        init_scale=config.model.head_init_scale,
    )


def make_linear_probe(config: ConfigDict, num_classes: int) -> LinearProbe:
    """Makes the linear probe of a run's config, with a head per `probe.learning_rate_factors`.

    Raises:
        ConfigError: A value of `config.model` is unknown.
        ValueError: The clips do not divide into tubelets.
    """
    encoder = vit.transformer_config(config.model, "encoder")
    grid, tubelet = vit.token_shape(config)
    return LinearProbe(
        # A frozen encoder has no backward pass.
        dataclasses.replace(encoder, remat="none"),
        grid,
        num_classes,
        num_heads=len(config.probe.learning_rate_factors),
        batch_norm=config.probe.batch_norm,
        tubelet=tubelet,
        layer_norm=config.probe.get("layer_norm", False),
    )
