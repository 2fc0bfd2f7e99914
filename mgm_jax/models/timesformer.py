"""TimeSformer's parts (Bertasius et al., 2021): divided space-time attention, learned positions.

*Decisions*, where it meets the masked autoencoder: no class token, as the ViT here has none;
tubelets instead of frames' patches (section 4.2 of the MGM paper); linear layers start, and keys
lack a bias, as in VideoMAE; drop path leaves out a branch for a whole clip, where the original
leaves it out for a frame or a location; the decoder stays VideoMAE's, with joint attention.
"""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from mgm_jax.models import layers


class Positions(nn.Module):
    """Learned position embeddings, one of the place in the frame plus one of the time.

    They start as the original's: normal with deviation 0.02, and zero.

    Attributes:
        grid: Token grid (t, h, w).
        dim: Width of a token.
    """

    grid: tuple[int, int, int]
    dim: int

    @nn.compact
    def __call__(self) -> Float[Array, "n {self.dim}"]:
        """The embeddings of all tokens, in time-major order."""
        t, h, w = self.grid
        space = self.param("space", nn.initializers.normal(0.02), (h, w, self.dim))
        time = self.param("time", nn.initializers.zeros, (t, self.dim))
        return (time[:, None, None] + space).reshape(t * h * w, self.dim)


def same_location(
    visible_ids: Int[Array, "b n"], grid: tuple[int, int, int]
) -> Bool[Array, "b 1 n n"]:
    """Which visible tokens lie at the same place in the frame.

    Args:
        visible_ids: Flat positions of the tokens.
        grid: Token grid (t, h, w).

    Returns:
        A mask for attention.
    """
    place = visible_ids % (grid[1] * grid[2])
    return (place[:, :, None] == place[:, None])[:, None]


def same_step(visible_ids: Int[Array, "b n"], grid: tuple[int, int, int]) -> Bool[Array, "b 1 n n"]:
    """Which visible tokens lie at the same time; see `same_location`."""
    step = visible_ids // (grid[1] * grid[2])
    return (step[:, :, None] == step[:, None])[:, None]


class DividedBlock(nn.Module):
    """A block with divided attention: over time, then over space, then the MLP.

    A token attends among the tokens of its location, then among those of its step. Visible tokens
    are of another number at every location and step of every clip, so under a mask both are joint
    attention in which all other pairs are masked: exact, for any mask, at the price of n² pairs.
    They are few (with ViT-B's width and 392 tokens 0.9 of a block's 8.8 GFLOP), and in finetuning,
    where nothing is hidden, attention runs within the groups.

    Attention over time passes one more linear layer, which starts as zero.

    Attributes:
        heads: Number of heads.
        mlp_ratio: Hidden width of the MLP over token width.
        dtype: Compute dtype, of the residual stream too.
        attention: See `layers.dot_product_attention`.
        grid: Token grid (t, h, w).
    """

    heads: int
    mlp_ratio: float = 4.0
    dtype: DTypeLike = jnp.float32
    attention: str = "xla"
    grid: tuple[int, int, int] = (1, 1, 1)

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        drop_path: layers.DropPath | None = None,
        visible_ids: Int[Array, "b n"] | None = None,
    ) -> Float[Array, "b n d"]:
        """Applies attention over time, over space, and the MLP.

        Args:
            x: Tokens.
            drop_path: Of this block; None outside training.
            visible_ids: Their flat positions; None where they are all tokens in order.

        Returns:
            The tokens.
        """
        path = drop_path or layers.keep_path
        options = (self.heads, self.dtype, self.attention)
        y = layers.LayerNorm(dtype=self.dtype, name="temporal_norm")(x)
        attention = layers.Attention(*options, name="temporal_attention")
        if visible_ids is None:
            y = self._ungroup_locations(attention(self._group_locations(y)))
        else:
            y = attention(y, same_location(visible_ids, self.grid))
        zeros = nn.initializers.zeros
        y = nn.Dense(y.shape[-1], dtype=self.dtype, kernel_init=zeros, name="temporal_fc")(y)
        x = x + path(0, y)

        y = layers.LayerNorm(dtype=self.dtype, name="norm1")(x)
        attention = layers.Attention(*options, name="attention")
        if visible_ids is None:
            y = attention(y.reshape(-1, self.grid[1] * self.grid[2], y.shape[-1])).reshape(y.shape)
        else:
            y = attention(y, same_step(visible_ids, self.grid))
        x = x + path(1, y)

        y = layers.LayerNorm(dtype=self.dtype, name="norm2")(x)
        return x + path(2, layers.Mlp(self.mlp_ratio, self.dtype, name="mlp")(y))

    def _group_locations(self, y: Float[Array, "b n d"]) -> Float[Array, "groups t d"]:
        t, h, w = self.grid
        return y.reshape(-1, t, h * w, y.shape[-1]).swapaxes(1, 2).reshape(-1, t, y.shape[-1])

    def _ungroup_locations(self, y: Float[Array, "groups t d"]) -> Float[Array, "b n d"]:
        t, h, w = self.grid
        y = y.reshape(-1, h * w, t, y.shape[-1]).swapaxes(1, 2)
        return y.reshape(-1, t * h * w, y.shape[-1])
