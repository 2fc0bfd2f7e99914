"""The video transformers: their sizes and their encoder."""

import dataclasses
from typing import Literal

from flax import linen as nn
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from mgm_jax.errors import ConfigError
from mgm_jax.models import patches as patches_lib
from mgm_jax.models.blocks import Blocks
from mgm_jax.models.layers import LayerNorm, TransformerConfig, fixed_positions
from mgm_jax.models.timesformer import Positions

# VideoMAE's sizes. *Decision*: Ti, for trials, is ViT-Ti with a decoder half as wide and as deep as
# that of S.
SIZES: dict[str, dict[str, TransformerConfig]] = {
    "Ti": {"encoder": TransformerConfig(192, 12, 3), "decoder": TransformerConfig(96, 4, 3)},
    "S": {"encoder": TransformerConfig(384, 12, 6), "decoder": TransformerConfig(192, 4, 3)},
    "B": {"encoder": TransformerConfig(768, 12, 12), "decoder": TransformerConfig(384, 4, 6)},
    "L": {"encoder": TransformerConfig(1024, 24, 16), "decoder": TransformerConfig(512, 12, 8)},
    "H": {"encoder": TransformerConfig(1280, 32, 16), "decoder": TransformerConfig(640, 12, 8)},
}

_SHAPE = ("dim", "depth", "heads", "mlp_ratio")


def transformer_config(model: ConfigDict, part: Literal["encoder", "decoder"]) -> TransformerConfig:
    """Returns the configuration of a run's encoder or decoder.

    Args:
        model: `config.model` of the run: a size, the fields of the shape to replace (under
            `encoder` and `decoder`; None keeps the size's), and options. Runs of early versions
            have no `backbone`.
        part: Which of the two.

    Raises:
        ConfigError: A size, field or option is unknown.
    """
    if model.size not in SIZES:
        raise ConfigError(f"config.model.size={model.size!r} is not one of {', '.join(SIZES)}")
    shape = {name: value for name, value in model[part].items() if value is not None}
    for name in shape.keys() - set(_SHAPE):
        raise ConfigError(f"config.model.{part}.{name} is not one of {', '.join(_SHAPE)}")
    return dataclasses.replace(
        SIZES[model.size][part],
        **shape,
        drop_path=model.drop_path,
        dtype=model.dtype,
        attention=model.attention,
        remat=model.remat,
        backbone=model.get("backbone", "vit") if part == "encoder" else "vit",
        positions=model.positions,
    )


def token_shape(config: ConfigDict) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Returns the token grid (t, h, w) of a run's clips, and its tubelet in frames, pixels, pixels.

    Raises:
        ValueError: The clips do not divide into tubelets.
    """
    size, tubelet = config.data.size, tuple(config.model.tubelet)
    return patches_lib.token_grid(config.data.clip_frames, size, size, tubelet), tubelet


class Encoder(nn.Module):
    """Vision transformer over tubelets, without class token.

    Attributes:
        final_norm: Whether the last layer is a LayerNorm, as in pretraining. A finetuned classifier
            normalizes after pooling instead.
    """

    config: TransformerConfig
    grid: tuple[int, int, int]
    tubelet: tuple[int, int, int] = (2, 16, 16)
    final_norm: bool = True

    @nn.compact
    def __call__(
        self,
        clips: Float[Array, "b T H W c"] | Float[Array, "b n_visible c p"],
        visible_ids: Int[Array, "b n_visible"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b n d"]:
        """Encodes the visible tokens, in the order of their ids.

        The other tubelets are dropped before the embedding, so they have no influence and no cost.

        Args:
            clips: Clips, normalized as the recipe says, or their visible tubelets
                (`patches.patchify`).
            visible_ids: Flat positions of the tokens to encode; None encodes all.
            train: Whether to apply drop path, which needs the random stream "dropout".

        Raises:
            ValueError: The clips do not have the token grid of the encoder.
        """
        patches = clips if clips.ndim == 4 else self._cut(clips, visible_ids)
        if self.config.backbone == "vit":
            positions = fixed_positions(self.config, self.grid)
        else:
            learned = Positions(self.grid, self.config.dim, name="positions")()
            positions = learned.astype(self.config.dtype)
        if visible_ids is not None:
            positions = positions[visible_ids]
        embed = patches_lib.PatchEmbedding(self.config.dim, self.config.dtype, name="embed")
        tokens = embed(patches)
        blocks = Blocks(self.config, self.grid, name="blocks")
        tokens = blocks(tokens + positions, train, visible_ids)
        if not self.final_norm:
            return tokens
        return LayerNorm(dtype=self.config.dtype, name="norm")(tokens)

    def _cut(
        self, clips: Float[Array, "b T H W c"], visible_ids: Int[Array, "b n_visible"] | None
    ) -> Float[Array, "b n c p"]:
        _, frames, height, width, _ = clips.shape
        grid = patches_lib.token_grid(frames, height, width, self.tubelet)
        if grid != self.grid:
            raise ValueError(
                f"clips of {frames} frames of {height}x{width} pixels have the token grid {grid}, "
                f"but the encoder was made for {self.grid}; make it for clips of this size"
            )
        patches = patches_lib.patchify(clips.astype(self.config.dtype), self.tubelet)
        return patches if visible_ids is None else patches_lib.gather_tokens(patches, visible_ids)
