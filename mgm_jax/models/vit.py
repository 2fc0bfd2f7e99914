"""The video transformers: their sizes and their encoder."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from mgm_jax.errors import ConfigError
from mgm_jax.models import blocks, layers, timesformer
from mgm_jax.models import patches as tubelets


@dataclasses.dataclass(frozen=True)
class TransformerSettings:
    """Shape of one transformer.

    Attributes:
        dim: Width of a token.
        depth: Number of blocks.
        heads: Number of attention heads.
        mlp_ratio: Hidden width of the MLP over token width.
    """

    dim: int
    depth: int
    heads: int
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise ConfigError(
                f"a width of {self.dim} does not divide into {self.heads} heads; choose dim as a "
                "multiple of heads"
            )


@dataclasses.dataclass(frozen=True)
class AutoencoderSettings:
    """Shape of a masked autoencoder.

    Attributes:
        encoder: Shape of the encoder.
        decoder: Shape of the decoder.
    """

    encoder: TransformerSettings
    decoder: TransformerSettings


# VideoMAE's sizes. Ti is the project's (decision): ViT-Ti with a decoder half as wide, of the
# smallest depth, for trials.
SIZES: dict[str, AutoencoderSettings] = {
    "Ti": AutoencoderSettings(TransformerSettings(192, 12, 3), TransformerSettings(96, 4, 3)),
    "S": AutoencoderSettings(TransformerSettings(384, 12, 6), TransformerSettings(192, 4, 3)),
    "B": AutoencoderSettings(TransformerSettings(768, 12, 12), TransformerSettings(384, 4, 6)),
    "L": AutoencoderSettings(TransformerSettings(1024, 24, 16), TransformerSettings(512, 12, 8)),
    "H": AutoencoderSettings(TransformerSettings(1280, 32, 16), TransformerSettings(640, 12, 8)),
}

BACKBONES = ("vit", "timesformer_divided", "timesformer_joint")


def known_backbone(name: str) -> str:
    """Checks the name of a backbone.

    Raises:
        ConfigError: It is not in `BACKBONES`.
    """
    if name not in BACKBONES:
        raise ConfigError(f"config.model.backbone={name!r} is not one of {', '.join(BACKBONES)}")
    return name


def autoencoder_settings(
    size: str, overrides: Mapping[str, Mapping[str, Any]] | None = None
) -> AutoencoderSettings:
    """Looks up a size and changes what is asked for.

    Args:
        size: A name in `SIZES`.
        overrides: Fields to replace, such as {"encoder": {"depth": 2}, "decoder": {"dim": 64}};
            None leaves a field as it is.

    Returns:
        The settings.

    Raises:
        ConfigError: No such size, part or field.
    """
    if size not in SIZES:
        raise ConfigError(f"no model size named {size!r}; choose one of {', '.join(SIZES)}")
    parts = dataclasses.asdict(SIZES[size])
    for part, fields in (overrides or {}).items():
        known = parts.get(part)
        if known is None:
            raise ConfigError(f"no part {part!r} to override; choose from {', '.join(parts)}")
        for name, value in fields.items():
            if name not in known:
                raise ConfigError(
                    f"no field {name!r} to override in the {part}; choose from {', '.join(known)}"
                )
            if value is not None:
                known[name] = value
    return AutoencoderSettings(
        TransformerSettings(**parts["encoder"]), TransformerSettings(**parts["decoder"])
    )


class Encoder(nn.Module):
    """Vision transformer over tubelets, without class token.

    Its backbone is one of `BACKBONES` (Table 4a): "vit" is VideoMAE's, with joint attention and
    fixed positions; "timesformer_divided" and "timesformer_joint" have TimeSformer's positions, and
    its divided or joint attention.

    Attributes:
        settings: Shape of the transformer.
        grid: Token grid (t, h, w).
        tubelet: Size of a tubelet in frames, pixels, pixels.
        drop_path: Drop-path rate of the last block.
        dtype: Compute dtype; parameters are float32.
        attention: See `layers.dot_product_attention`.
        remat: See `blocks.Blocks`.
        final_norm: Whether the last step is a LayerNorm, as in pretraining. A finetuned classifier
            leaves it out and normalises after pooling.
        scan: See `blocks.Blocks`.
        backbone: A name in `BACKBONES`.
    """

    settings: TransformerSettings
    grid: tuple[int, int, int]
    tubelet: tuple[int, int, int] = (2, 16, 16)
    drop_path: float = 0.0
    dtype: DTypeLike = jnp.float32
    attention: str = "xla"
    remat: str = "none"
    final_norm: bool = True
    scan: bool = False
    backbone: str = "vit"

    @nn.compact
    def __call__(
        self,
        clips: Float[Array, "b T H W c"],
        visible_ids: Int[Array, "b n_visible"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b n d"]:
        """Encodes the visible tokens.

        Masked tubelets are left out before the embedding, so they can have no influence and cost
        nothing.

        Args:
            clips: Clips, normalised as the recipe says.
            visible_ids: Flat positions of the tokens to encode; None encodes all.
            train: Whether paths are dropped; they need the random stream "dropout".

        Returns:
            The encoded tokens, after the final LayerNorm if there is one, in the order of the ids.

        Raises:
            ValueError: The clips are not of the size that the encoder was made for.
        """
        grid = tubelets.token_grid(*clips.shape[1:4], self.tubelet)
        if grid != self.grid:
            raise ValueError(
                f"clips of {clips.shape[1:4]} frames and pixels have the token grid {grid}, but "
                f"the encoder was made for {self.grid}; give clips of its size or make it anew"
            )
        patches = tubelets.patchify(clips, self.tubelet)
        positions = self._positions()
        if visible_ids is not None:
            patches = tubelets.gather_tokens(patches, visible_ids)
            positions = positions[visible_ids]
        tokens = layers.Dense(self.settings.dim, dtype=self.dtype, name="embed")(patches)
        tokens = blocks.Blocks(
            self.settings.depth,
            self.settings.heads,
            self.settings.mlp_ratio,
            self.drop_path,
            self.dtype,
            self.attention,
            self.remat,
            self.scan,
            divided_grid=self.grid if self.backbone == "timesformer_divided" else None,
            name="blocks",
        )(tokens + positions, train, visible_ids)
        if not self.final_norm:
            return tokens
        return layers.LayerNorm(dtype=self.dtype, name="norm")(tokens)

    def _positions(self) -> Float[Array, "n d"]:
        if known_backbone(self.backbone) == "vit":
            table = layers.sincos_position_table(math.prod(self.grid), self.settings.dim)
        else:
            table = timesformer.Positions(self.grid, self.settings.dim, name="positions")()
        return jnp.asarray(table, self.dtype)
