"""TimeSformer's parts (Bertasius et al., 2021): divided space-time attention, learned positions.

*Decisions* for its use in a masked autoencoder: no class token, as the ViT here has none; tubelets
instead of patches of single frames (section 4.2 of the MGM paper); linear layers are initialized,
and keys lack a bias, as in VideoMAE; drop path drops a branch for a whole clip, where the original
drops it for a frame or a location; the decoder stays VideoMAE's, with joint attention.
"""

from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from mgm_jax.models.attention import Attention
from mgm_jax.models.layers import Dense, DropPath, LayerNorm, Mlp, TransformerConfig


class Positions(nn.Module):
    """Learned position embeddings: one of the location in the frame plus one of the time.

    They start as in the original: normal with standard deviation 0.02, and zero.
    """

    grid: tuple[int, int, int]
    dim: int

    @nn.compact
    def __call__(self) -> Float[Array, "n {self.dim}"]:
        """Returns the embeddings of all n = t·h·w tokens, ordered by time, row, column."""
        t, h, w = self.grid
        space = self.param("space", nn.initializers.normal(0.02), (h, w, self.dim))
        time = self.param("time", nn.initializers.zeros, (t, self.dim))
        return (time[:, None, None] + space).reshape(t * h * w, self.dim)


class DividedBlock(nn.Module):
    """A block with divided attention: over time, then over space, then the MLP.

    A token attends to the tokens at its location, then to those of its time. The number of visible
    tokens differs between locations and times, so under a mask both are joint attention with all
    other pairs masked: exact for any mask, at the cost of n² pairs. That is little where few tokens
    are visible (with ViT-B's width and 392 tokens 0.9 of a block's 8.8 GFLOP). In finetuning all
    tokens are visible, and attention runs within the groups.

    The output of attention over time passes one more linear layer, which starts as zero.
    """

    config: TransformerConfig
    grid: tuple[int, int, int]

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        drop_path: DropPath,
        visible_ids: Int[Array, "b n"] | None = None,
    ) -> Float[Array, "b n d"]:
        """Transforms tokens, all of a clip in order where `visible_ids` is None."""
        dtype, places = self.config.dtype, self.grid[1] * self.grid[2]
        y = LayerNorm(dtype=dtype, name="temporal_norm")(x)
        attention = Attention(self.config, name="temporal_attention")
        if visible_ids is None:
            by_time = y.reshape(-1, self.grid[0], places, y.shape[-1])
            by_place = attention(by_time.swapaxes(1, 2).reshape(-1, self.grid[0], y.shape[-1]))
            by_place = by_place.reshape(-1, places, self.grid[0], y.shape[-1])
            y = by_place.swapaxes(1, 2).reshape(y.shape)
        else:
            y = attention(y, _same(visible_ids % places))
        zeros = nn.initializers.zeros
        y = Dense(y.shape[-1], dtype=dtype, kernel_init=zeros, name="temporal_fc")(y)
        x = x + drop_path(0, y)

        y = LayerNorm(dtype=dtype, name="norm1")(x)
        attention = Attention(self.config, name="attention")
        if visible_ids is None:
            y = attention(y.reshape(-1, places, y.shape[-1])).reshape(y.shape)
        else:
            y = attention(y, _same(visible_ids // places))
        x = x + drop_path(1, y)

        y = LayerNorm(dtype=dtype, name="norm2")(x)
        return x + drop_path(2, Mlp(self.config, name="mlp")(y))


def _same(groups: Int[Array, "b n"]) -> Bool[Array, "b 1 n n"]:
    """An attention mask that keeps the pairs of tokens of the same group."""
    return (groups[:, :, None] == groups[:, None])[:, None]
