"""The masked autoencoder of VideoMAE (Tong et al., 2022), which MGM leaves unchanged."""

import math

import jax.numpy as jnp
import ml_collections
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from mgm_jax.errors import ConfigError
from mgm_jax.models import blocks, layers, patches, vit


class Decoder(nn.Module):
    """Transformer over all tokens that predicts the pixels of the masked ones.

    Attributes:
        settings: Shape of the transformer.
        patch_dim: Values to predict per token.
        drop_path: Drop-path rate of the last block.
        dtype: Compute dtype.
        attention: See `layers.dot_product_attention`.
        remat: See `blocks.Blocks`.
        scan: See `blocks.Blocks`.
    """

    settings: vit.TransformerSettings
    patch_dim: int
    drop_path: float = 0.0
    dtype: DTypeLike = jnp.float32
    attention: str = "xla"
    remat: str = "none"
    scan: bool = False

    @nn.compact
    def __call__(
        self, tokens: Float[Array, "b n d"], num_masked: int, train: bool = False
    ) -> Float[Array, "b num_masked patch_dim"]:
        """Predicts the last tokens' pixels.

        Args:
            tokens: Visible tokens, then mask tokens, with their position embeddings.
            num_masked: Number of mask tokens.
            train: Whether paths are dropped.

        Returns:
            Predicted values of the mask tokens' tubelets.
        """
        tokens = blocks.Blocks(
            self.settings.depth,
            self.settings.heads,
            self.settings.mlp_ratio,
            self.drop_path,
            self.dtype,
            self.attention,
            self.remat,
            self.scan,
            name="blocks",
        )(tokens, train)
        masked = tokens[:, tokens.shape[1] - num_masked :]
        masked = layers.LayerNorm(dtype=self.dtype, name="norm")(masked)
        return layers.Dense(self.patch_dim, dtype=self.dtype, name="head")(masked)


class MaskedAutoencoder(nn.Module):
    """Encodes the visible tubelets of clips and predicts the masked ones.

    Attributes:
        settings: Shapes of encoder and decoder.
        grid: Token grid (t, h, w).
        tubelet: Size of a tubelet in frames, pixels, pixels.
        drop_path: Drop-path rate of the last block, of encoder and decoder each.
        dtype: Compute dtype; parameters are float32.
        attention: See `layers.dot_product_attention`.
        remat: See `blocks.Blocks`.
        scan: See `blocks.Blocks`.
        backbone: The encoder's, a name in `vit.BACKBONES`.
    """

    settings: vit.AutoencoderSettings
    grid: tuple[int, int, int]
    tubelet: tuple[int, int, int] = (2, 16, 16)
    drop_path: float = 0.0
    dtype: DTypeLike = jnp.float32
    attention: str = "xla"
    remat: str = "none"
    scan: bool = False
    backbone: str = "vit"

    def setup(self) -> None:
        """Makes the parts."""
        width = self.settings.decoder.dim
        options = {
            "drop_path": self.drop_path,
            "dtype": self.dtype,
            "attention": self.attention,
            "remat": self.remat,
            "scan": self.scan,
        }
        self.encoder = vit.Encoder(
            self.settings.encoder, self.grid, self.tubelet, **options, backbone=self.backbone
        )
        self.encoder_to_decoder = layers.Dense(width, use_bias=False, dtype=self.dtype)
        # Cut at one standard deviation, as VideoMAE.
        mask_token_init = nn.initializers.truncated_normal(0.02, lower=-1.0, upper=1.0)
        self.mask_token = self.param("mask_token", mask_token_init, (width,))
        self.decoder = Decoder(self.settings.decoder, 3 * math.prod(self.tubelet), **options)

    def encode(
        self,
        clips: Float[Array, "b T H W 3"],
        visible_ids: Int[Array, "b n_visible"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b n d"]:
        """Encodes the visible tokens; see `vit.Encoder`.

        Args:
            clips: Clips, normalised as the recipe says.
            visible_ids: Flat positions of the visible tokens; None encodes all.
            train: Whether paths are dropped.

        Returns:
            The encoded tokens in the order of the ids.
        """
        return self.encoder(clips, visible_ids, train)

    def decode(
        self,
        tokens: Float[Array, "b n_visible d"],
        visible_ids: Int[Array, "b n_visible"],
        masked_ids: Int[Array, "b n_masked"],
        train: bool = False,
    ) -> Float[Array, "b n_masked patch_dim"]:
        """Predicts the masked tubelets from the encoded visible tokens.

        Args:
            tokens: Encoded visible tokens.
            visible_ids: Their flat positions.
            masked_ids: Flat positions of the tokens to predict.
            train: Whether paths are dropped.

        Returns:
            Predicted values of the masked tubelets, flattened as `tubelets.patchify` does, in the
            order of `masked_ids`.
        """
        positions = jnp.asarray(
            layers.sincos_position_table(math.prod(self.grid), self.settings.decoder.dim),
            self.dtype,
        )
        visible = self.encoder_to_decoder(tokens) + positions[visible_ids]
        masked = self.mask_token.astype(self.dtype) + positions[masked_ids]
        return self.decoder(jnp.concatenate([visible, masked], axis=1), masked_ids.shape[1], train)

    def __call__(
        self,
        clips: Float[Array, "b T H W 3"],
        visible_ids: Int[Array, "b n_visible"],
        masked_ids: Int[Array, "b n_masked"],
        train: bool = False,
    ) -> Float[Array, "b n_masked patch_dim"]:
        """Encodes the visible tubelets and predicts the masked ones.

        Args:
            clips: Clips, normalised as the recipe says.
            visible_ids: Flat positions of the visible tokens.
            masked_ids: Flat positions of the masked tokens.
            train: Whether paths are dropped; they need the random stream "dropout".

        Returns:
            Predicted values of the masked tubelets, in the order of `masked_ids`.
        """
        tokens = self.encode(clips, visible_ids, train)
        return self.decode(tokens, visible_ids, masked_ids, train)


def make_autoencoder(
    config: ml_collections.ConfigDict, frames: int, size: int
) -> MaskedAutoencoder:
    """Makes the masked autoencoder that a recipe names.

    Args:
        config: The recipe's `model` section: size (a name in `vit.SIZES`), encoder and decoder
            (dim, depth and heads that replace the size's where they are not None), tubelet, dtype
            ("float32" or "bfloat16"), drop_path, attention and remat; scan and backbone, if they
            are there, else "vit" and no scan.
        frames: Frames of a clip.
        size: Height and width of a clip in pixels.

    Returns:
        The model, without parameters.

    Raises:
        ConfigError: The config names something unknown.
        ValueError: The clip does not divide into tubelets.
    """
    if config.dtype not in ("float32", "bfloat16"):
        raise ConfigError(
            f"no compute dtype {config.dtype!r} in config.model; choose 'float32' or 'bfloat16'"
        )
    tubelet = tuple(config.tubelet)
    return MaskedAutoencoder(
        settings=vit.autoencoder_settings(
            config.size, {"encoder": dict(config.encoder), "decoder": dict(config.decoder)}
        ),
        grid=patches.token_grid(frames, size, size, tubelet),
        tubelet=tubelet,
        drop_path=config.drop_path,
        dtype=jnp.dtype(config.dtype),
        attention=config.attention,
        remat=blocks.remat_policy(config.remat),
        scan=config.get("scan", False),
        backbone=vit.known_backbone(config.get("backbone", "vit")),
    )
