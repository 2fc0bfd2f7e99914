"""Classifiers on the encoder: finetuned whole, or linear probes of a frozen one."""

import jax
import jax.numpy as jnp
import ml_collections
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Float32

from mgm_jax.errors import ConfigError
from mgm_jax.models import blocks, layers, patches, vit


class Classifier(nn.Module):
    """Encodes all tokens of clips, pools them and classifies: VideoMAE's finetuning model.

    Encoder, mean over the tokens, LayerNorm `norm` (VideoMAE's fc_norm), dropout, linear `head`.
    The encoder's parameters have the paths that they have in `mae.MaskedAutoencoder`, so pretrained
    ones drop in; its own final LayerNorm is left out, as VideoMAE does. What follows the encoder
    is computed in float32.

    Attributes:
        settings: Shape of the encoder.
        grid: Token grid (t, h, w).
        num_classes: Number of classes.
        tubelet: Size of a tubelet in frames, pixels, pixels.
        drop_path: Drop-path rate of the last block.
        dropout: Dropout rate before the head.
        init_scale: Factor on the head's first weights, which are normal with deviation 0.02.
        dtype: Compute dtype of the encoder; parameters are float32.
        attention: See `layers.dot_product_attention`.
        remat: See `blocks.Blocks`.
        final_norm: Whether to keep the encoder's final LayerNorm before pooling.
        scan: See `blocks.Blocks`.
        backbone: The encoder's, a name in `vit.BACKBONES`.
    """

    settings: vit.TransformerSettings
    grid: tuple[int, int, int]
    num_classes: int
    tubelet: tuple[int, int, int] = (2, 16, 16)
    drop_path: float = 0.0
    dropout: float = 0.0
    init_scale: float = 0.001
    dtype: DTypeLike = jnp.float32
    attention: str = "xla"
    remat: str = "none"
    final_norm: bool = False
    scan: bool = False
    backbone: str = "vit"

    def setup(self) -> None:
        """Makes the parts."""
        self.encoder = vit.Encoder(
            self.settings,
            self.grid,
            self.tubelet,
            self.drop_path,
            self.dtype,
            self.attention,
            self.remat,
            self.final_norm,
            self.scan,
            self.backbone,
        )
        self.norm = layers.LayerNorm(dtype=jnp.float32)
        self.head_dropout = nn.Dropout(self.dropout)
        # VideoMAE cuts at ±2, a hundred deviations, so there is nothing to cut.
        kernel_init = nn.initializers.normal(0.02 * self.init_scale)
        self.head = layers.Dense(self.num_classes, kernel_init=kernel_init, dtype=jnp.float32)

    def features(
        self, clips: Float[Array, "b T H W c"], train: bool = False
    ) -> Float32[Array, "b d"]:
        """Describes each clip by one vector.

        Args:
            clips: Clips, normalised as the recipe says.
            train: Whether paths are dropped; they need the random stream "dropout".

        Returns:
            The mean over the encoder's output tokens, before `norm`, dropout and head.
        """
        return self.encoder(clips, None, train).astype(jnp.float32).mean(axis=1)

    def __call__(
        self, clips: Float[Array, "b T H W c"], train: bool = False
    ) -> Float32[Array, "b {self.num_classes}"]:
        """Classifies clips.

        Args:
            clips: Clips, normalised as the recipe says.
            train: Whether paths and features are dropped; they need the random stream "dropout".

        Returns:
            The logits.
        """
        features = self.norm(self.features(clips, train))
        return self.head(self.head_dropout(features, deterministic=not train))


class ParallelHeads(nn.Module):
    """Independent linear classifiers of the same features, to try settings side by side.

    Attributes:
        num_heads: Number of classifiers.
        num_classes: Number of classes.
    """

    num_heads: int
    num_classes: int

    @nn.compact
    def __call__(
        self, features: Float[Array, "b d"]
    ) -> Float32[Array, "{self.num_heads} b {self.num_classes}"]:
        """Classifies features.

        Args:
            features: One vector per clip.

        Returns:
            The logits of every head.
        """
        shape = (self.num_heads, features.shape[-1], self.num_classes)
        kernel = self.param("kernel", nn.initializers.normal(0.01), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.num_heads, self.num_classes))
        logits = jnp.einsum("bd,hdc->hbc", features.astype(jnp.float32), kernel)
        return logits + bias[:, None]


class LinearProbe(nn.Module):
    """Linear classifiers of a frozen encoder's features, as many as settings to try.

    The encoder as in pretraining, with its final LayerNorm, in evaluation mode; mean over the
    tokens; no gradient flows back through either. The heads start normal with deviation 0.01, as
    MAE's (the paper gives no recipe).

    Attributes:
        settings: Shape of the encoder.
        grid: Token grid (t, h, w).
        num_classes: Number of classes.
        num_heads: Number of heads.
        batch_norm: Whether features pass a BatchNorm without scale and bias first, as MAE's
            probes; its running statistics are in the collection "batch_stats".
        tubelet: Size of a tubelet in frames, pixels, pixels.
        dtype: Compute dtype of the encoder; parameters are float32.
        attention: See `layers.dot_product_attention`.
        scan: See `blocks.Blocks`.
        backbone: The encoder's, a name in `vit.BACKBONES`.
    """

    settings: vit.TransformerSettings
    grid: tuple[int, int, int]
    num_classes: int
    num_heads: int = 1
    batch_norm: bool = False
    tubelet: tuple[int, int, int] = (2, 16, 16)
    dtype: DTypeLike = jnp.float32
    attention: str = "xla"
    scan: bool = False
    backbone: str = "vit"

    def setup(self) -> None:
        """Makes the parts."""
        self.encoder = vit.Encoder(
            self.settings,
            self.grid,
            self.tubelet,
            dtype=self.dtype,
            attention=self.attention,
            scan=self.scan,
            backbone=self.backbone,
        )
        if self.batch_norm:
            # Flax keeps 0.9 of the old statistics; torch calls that momentum 0.1.
            self.normalise = nn.BatchNorm(
                use_scale=False, use_bias=False, momentum=0.9, epsilon=1e-6, dtype=jnp.float32
            )
        self.heads = ParallelHeads(self.num_heads, self.num_classes)

    def features(self, clips: Float[Array, "b T H W c"]) -> Float32[Array, "b d"]:
        """Describes each clip by one vector, which may be computed once and kept.

        Args:
            clips: Clips, normalised as the recipe says.

        Returns:
            The mean over the encoder's output tokens, before the BatchNorm if there is one.
        """
        tokens = self.encoder(clips).astype(jnp.float32)
        return jax.lax.stop_gradient(tokens.mean(axis=1))

    def classify(
        self,
        features: Float[Array, "b d"],
        train: bool = False,
        valid: Bool[Array, " b"] | None = None,
    ) -> Float32[Array, "{self.num_heads} b {self.num_classes}"]:
        """Classifies features.

        Args:
            features: From `features`.
            train: Whether the BatchNorm takes its statistics from this batch, and adds them to the
                running ones ("batch_stats" must be mutable).
            valid: Clips that count in these statistics; None for all.

        Returns:
            The logits of every head.
        """
        if self.batch_norm:
            mask = None if valid is None else valid[:, None]
            features = self.normalise(features, use_running_average=not train, mask=mask)
        return self.heads(features)

    def __call__(
        self,
        clips: Float[Array, "b T H W c"],
        train: bool = False,
        valid: Bool[Array, " b"] | None = None,
    ) -> Float32[Array, "{self.num_heads} b {self.num_classes}"]:
        """Classifies clips: `features`, then `classify`.

        Args:
            clips: Clips, normalised as the recipe says.
            train: See `classify`.
            valid: See `classify`.

        Returns:
            The logits of every head.
        """
        return self.classify(self.features(clips), train, valid)


def _encoder_options(config: ml_collections.ConfigDict, frames: int, size: int) -> dict:
    if config.dtype not in ("float32", "bfloat16"):
        raise ConfigError(
            f"no compute dtype {config.dtype!r} in config.model; choose 'float32' or 'bfloat16'"
        )
    tubelet = tuple(config.tubelet)
    return {
        "settings": vit.autoencoder_settings(
            config.size, {"encoder": dict(config.encoder)}
        ).encoder,
        "grid": patches.token_grid(frames, size, size, tubelet),
        "tubelet": tubelet,
        "dtype": jnp.dtype(config.dtype),
        "attention": config.attention,
        "scan": config.get("scan", False),
        "backbone": vit.known_backbone(config.get("backbone", "vit")),
    }


def make_classifier(
    config: ml_collections.ConfigDict,
    frames: int,
    size: int,
    num_classes: int,
    *,
    dropout: float = 0.0,
    init_scale: float = 0.001,
    final_norm: bool = False,
) -> Classifier:
    """Makes the classifier that a recipe names.

    Args:
        config: The recipe's `model` section: size (a name in `vit.SIZES`), encoder (dim, depth and
            heads that replace the size's where they are not None), tubelet, dtype ("float32" or
            "bfloat16"), drop_path, attention and remat; scan and backbone, if they are there, else
            "vit" and no scan.
        frames: Frames of a clip.
        size: Height and width of a clip in pixels.
        num_classes: Number of classes.
        dropout: Dropout rate before the head.
        init_scale: Factor on the head's first weights.
        final_norm: Whether to keep the encoder's final LayerNorm before pooling.

    Returns:
        The model, without parameters.

    Raises:
        ConfigError: The config names something unknown.
        ValueError: The clip does not divide into tubelets.
    """
    return Classifier(
        **_encoder_options(config, frames, size),
        num_classes=num_classes,
        drop_path=config.drop_path,
        dropout=dropout,
        init_scale=init_scale,
        remat=blocks.remat_policy(config.remat),
        final_norm=final_norm,
    )


def make_linear_probe(
    config: ml_collections.ConfigDict,
    frames: int,
    size: int,
    num_classes: int,
    *,
    num_heads: int = 1,
    batch_norm: bool = False,
) -> LinearProbe:
    """Makes the linear probe that a recipe names.

    Args:
        config: The recipe's `model` section, as in `make_classifier`; drop_path and remat do not
            concern a frozen encoder.
        frames: Frames of a clip.
        size: Height and width of a clip in pixels.
        num_classes: Number of classes.
        num_heads: Number of heads.
        batch_norm: Whether features pass a BatchNorm first.

    Returns:
        The model, without parameters.

    Raises:
        ConfigError: The config names something unknown.
        ValueError: The clip does not divide into tubelets.
    """
    return LinearProbe(
        **_encoder_options(config, frames, size),
        num_classes=num_classes,
        num_heads=num_heads,
        batch_norm=batch_norm,
    )
