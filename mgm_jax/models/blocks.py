"""A transformer's stack of blocks, with parameters `blocks/0/...`, `blocks/1/...`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from mgm_jax.models.attention import Attention
from mgm_jax.models.layers import DropPath, LayerNorm, Mlp, TransformerConfig
from mgm_jax.models.timesformer import DividedBlock

_REMAT_POLICIES: dict[str, Callable[..., bool] | None] = {
    "full": None,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


class Block(nn.Module):
    """A pre-LayerNorm transformer block with joint attention; all activations have one dtype."""

    config: TransformerConfig
    grid: tuple[int, int, int] = (1, 1, 1)  # Unused, as `visible_ids`; other blocks need it.

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        drop_path: DropPath,
        visible_ids: Int[Array, "b n"] | None = None,
    ) -> Float[Array, "b n d"]:
        """Applies attention, then the MLP."""
        y = LayerNorm(dtype=self.config.dtype, name="norm1")(x)
        x = x + drop_path(0, Attention(self.config, name="attention")(y))
        y = LayerNorm(dtype=self.config.dtype, name="norm2")(x)
        return x + drop_path(1, Mlp(self.config, name="mlp")(y))


class Blocks(nn.Module):
    """A stack of blocks; `remat` changes its results by rounding only."""

    config: TransformerConfig
    grid: tuple[int, int, int] = (1, 1, 1)  # Only divided attention needs it.

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        train: bool = False,
        visible_ids: Int[Array, "b n"] | None = None,
    ) -> Float[Array, "b n d"]:
        """Applies the blocks in turn, without a final LayerNorm.

        Args:
            x: Tokens.
            train: Whether to apply drop path, which needs the random stream "dropout".
            visible_ids: Flat positions of the tokens; None if they are all of a clip in order.
        """
        depth = self.config.depth
        drop_paths = [DropPath()] * depth
        if train and self.config.drop_path:
            rates = jnp.linspace(0.0, self.config.drop_path, depth)
            keys = jax.random.split(self.make_rng("dropout"), depth)
            drop_paths = list(map(DropPath, rates, keys))
        block: Any = DividedBlock if self.config.backbone == "timesformer_divided" else Block
        if self.config.remat != "none":
            block = nn.remat(block, policy=_REMAT_POLICIES[self.config.remat])
        for i, drop_path in enumerate(drop_paths):
            x = block(self.config, self.grid, name=str(i))(x, drop_path, visible_ids)
        return x
