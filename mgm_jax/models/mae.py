"""The masked autoencoder of VideoMAE (Tong et al., 2022), which MGM leaves unchanged.

As in facebookresearch/mae: encode the visible tokens, decode all tokens, and compare the prediction
with the masked pixels (`training.losses`).
"""

import math

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from mgm_jax.models import vit
from mgm_jax.models.blocks import Blocks
from mgm_jax.models.layers import (
    Dense,
    LayerNorm,
    TransformerConfig,
    fixed_positions,
    uniform_init,
)
from mgm_jax.models.patches import PixelHead


class Decoder(nn.Module):
    """Transformer over all tokens that predicts the pixels of the masked ones."""

    config: TransformerConfig
    pixels: int

    @nn.compact
    def __call__(
        self, tokens: Float[Array, "b n d"], num_masked: int, train: bool = False
    ) -> Float[Array, "b num_masked 3 {self.pixels}"]:
        """Predicts the tubelets of the last `num_masked` tokens."""
        tokens = Blocks(self.config, name="blocks")(tokens, train)
        masked = tokens[:, tokens.shape[1] - num_masked :]
        masked = LayerNorm(dtype=self.config.dtype, name="norm")(masked)
        return PixelHead(self.pixels, self.config.dtype, name="head")(masked)


class MaskedAutoencoder(nn.Module):
    """Encodes the visible tubelets of clips and predicts the masked ones."""

    encoder_config: TransformerConfig
    decoder_config: TransformerConfig
    grid: tuple[int, int, int]
    tubelet: tuple[int, int, int] = (2, 16, 16)

    def setup(self) -> None:
        """Makes the parts."""
        dim, dtype = self.decoder_config.dim, self.decoder_config.dtype
        self.encoder = vit.Encoder(self.encoder_config, self.grid, self.tubelet)
        init = uniform_init(self.encoder_config.dim)
        self.encoder_to_decoder = Dense(dim, use_bias=False, dtype=dtype, kernel_init=init)
        # Truncated at one standard deviation, as in VideoMAE.
        mask_token_init = nn.initializers.truncated_normal(0.02, lower=-1.0, upper=1.0)
        self.mask_token = self.param("mask_token", mask_token_init, (dim,))
        self.decoder = Decoder(self.decoder_config, math.prod(self.tubelet))

    def __call__(
        self,
        clips: Float[Array, "b T H W 3"] | Float[Array, "b n_visible 3 p"],
        visible_ids: Int[Array, "b n_visible"],
        masked_ids: Int[Array, "b n_masked"],
        train: bool = False,
    ) -> Float[Array, "b n_masked 3 p"]:
        """Predicts the masked tubelets, as `patches.patchify` cuts them, in the order of the ids.

        Args:
            clips: Clips, normalized as the recipe says, or their visible tubelets.
            visible_ids: Flat positions of the visible tokens.
            masked_ids: Flat positions of the masked tokens, which are all others.
            train: Whether to apply drop path, which needs the random stream "dropout".
        """
        tokens = self.encoder(clips, visible_ids, train)
        positions = fixed_positions(self.decoder_config, self.grid)
        visible = self.encoder_to_decoder(tokens) + positions[visible_ids]
        masked = self.mask_token.astype(positions.dtype) + positions[masked_ids]
        return self.decoder(jnp.concatenate([visible, masked], axis=1), masked_ids.shape[1], train)


def make_autoencoder(config: ConfigDict) -> MaskedAutoencoder:
    """Makes the masked autoencoder of a run's config, without parameters.

    Raises:
        ConfigError: A value of `config.model` is unknown.
        ValueError: The clips do not divide into tubelets.
    """
    return MaskedAutoencoder(
        vit.transformer_config(config.model, "encoder"),
        vit.transformer_config(config.model, "decoder"),
        *vit.token_shape(config),
    )
