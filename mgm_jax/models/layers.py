"""The transformer's parts: positions, attention, drop path, the block."""

import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Float32

from mgm_jax.models.chunked_attention import chunked_attention

# VideoMAE's initialisation of every linear layer. `nn.DenseGeneral` draws its kernel as a matrix
# [in, out] and reshapes, so the fused query-key-value kernel has the fans of torch's [3·dim, dim].
Dense = functools.partial(nn.Dense, kernel_init=nn.initializers.xavier_uniform())
DenseGeneral = functools.partial(nn.DenseGeneral, kernel_init=nn.initializers.xavier_uniform())

# Statistics are float32 whatever the compute dtype.
LayerNorm = functools.partial(nn.LayerNorm, epsilon=1e-6)


@functools.lru_cache(maxsize=8)
def sincos_position_table(positions: int, dim: int) -> Float32[np.ndarray, "{positions} {dim}"]:
    """Builds VideoMAE's fixed position table.

    Channel i of position p is p / 10000^(2·(i // 2) / dim), through sin where i is even and cos
    where it is odd. Positions are flat, 0 … positions - 1, not factored into time, height, width.

    Args:
        positions: Number of positions.
        dim: Number of channels.

    Returns:
        The table, computed in float64.
    """
    channels = np.arange(dim)
    angles = np.arange(positions)[:, None] / 10000.0 ** (2 * (channels // 2) / dim)
    return np.where(channels % 2 == 0, np.sin(angles), np.cos(angles)).astype(np.float32)


def attention_weights(
    query: Float[Array, "b n heads head_dim"],
    key: Float[Array, "b m heads head_dim"],
    mask: Bool[Array, "#b 1 n m"] | None = None,
) -> Float32[Array, "b heads n m"]:
    """Weighs the keys for each query: softmax(q·kᵀ / √head_dim), in float32.

    Args:
        query: Queries.
        key: Keys.
        mask: Keys that a query attends to, one at least; None for all.

    Returns:
        Weights that sum to 1 over the keys.
    """
    # bfloat16 operands, float32 sums; named, because else the backward pass would multiply float32
    # by bfloat16.
    precision = jax.lax.DotAlgorithmPreset.BF16_BF16_F32 if query.dtype == jnp.bfloat16 else None
    scores = jnp.einsum(
        "bqhd,bkhd->bhqk", query, key, precision=precision, preferred_element_type=jnp.float32
    )
    scores *= query.shape[-1] ** -0.5
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf)
    return jax.nn.softmax(scores)


def dot_product_attention(
    query: Float[Array, "b n heads head_dim"],
    key: Float[Array, "b m heads head_dim"],
    value: Float[Array, "b m heads head_dim"],
    implementation: str = "xla",
    mask: Bool[Array, "#b 1 n m"] | None = None,
) -> Float[Array, "b n heads head_dim"]:
    """Attends: softmax(q·kᵀ / √head_dim)·v, with the softmax in float32.

    Args:
        query: Queries.
        key: Keys.
        value: Values.
        implementation: "xla" is the formula written out. It equals `jax.nn.dot_product_attention`
            but for a grouping axis, which keeps XLA:CPU from fusing softmax and products and
            makes it copy the weights. "cudnn" is the flash attention of NVIDIA GPUs, which never
            holds the n×m weights; bfloat16 only. "chunked" never holds them either, on any device:
            see `chunked_attention`; with many tokens it is faster on a CPU.
        mask: Keys that a query attends to, one at least; None for all.

    Returns:
        The attended values.

    Raises:
        ValueError: No such implementation.
    """
    if implementation == "cudnn":
        return jax.nn.dot_product_attention(query, key, value, mask=mask, implementation="cudnn")
    if implementation == "chunked":
        return chunked_attention(query, key, value, mask)
    if implementation != "xla":
        raise ValueError(
            f"no attention named {implementation!r}; choose 'xla', 'cudnn' or 'chunked'"
        )
    weights = attention_weights(query, key, mask).astype(value.dtype)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, value)


def exact_gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Computes x·Φ(x) in float32, by erf.

    `jax.nn.gelu(approximate=False)` goes by erfc, whose forward pass is several times as slow on
    XLA:CPU.

    Args:
        x: Values.

    Returns:
        The activations, in the dtype of the values.
    """
    wide = x.astype(jnp.float32)
    return (0.5 * wide * (1.0 + jax.lax.erf(wide * 0.5**0.5))).astype(x.dtype)


class Attention(nn.Module):
    """Self-attention with biases on queries and values only, as VideoMAE.

    A bias on keys would add the same to all of a query's scores, and so change nothing.

    The queries and keys are sown into the collection "intermediates", for attention maps.

    Attributes:
        heads: Number of heads.
        dtype: Compute dtype.
        implementation: See `dot_product_attention`.
    """

    heads: int
    dtype: DTypeLike = jnp.float32
    implementation: str = "xla"

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], mask: Bool[Array, "b 1 n n"] | None = None
    ) -> Float[Array, "b n d"]:
        """Attends among the tokens of a clip.

        Args:
            x: Tokens.
            mask: Tokens that a token attends to, itself among them; None for all.

        Returns:
            The attended tokens.
        """
        dim = x.shape[-1]
        heads = (self.heads, dim // self.heads)
        qkv = DenseGeneral((3, *heads), use_bias=False, dtype=self.dtype, name="qkv")(x)
        q_bias = self.param("q_bias", nn.initializers.zeros, heads)
        v_bias = self.param("v_bias", nn.initializers.zeros, heads)
        # Split, whose gradient joins three arrays: that of indexing pads each of them, and adds.
        query, key, value = (part.squeeze(2) for part in jnp.split(qkv, 3, axis=2))
        query = query + q_bias.astype(self.dtype)
        value = value + v_bias.astype(self.dtype)
        self.sow("intermediates", "query", query)
        self.sow("intermediates", "key", key)
        x = dot_product_attention(query, key, value, self.implementation, mask)
        return DenseGeneral(dim, axis=(-2, -1), dtype=self.dtype, name="proj")(x)


class Mlp(nn.Module):
    """Two linear layers with the exact GELU between them.

    Attributes:
        ratio: Hidden width over token width.
        dtype: Compute dtype.
    """

    ratio: float = 4.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        """Transforms each token by itself.

        Args:
            x: Tokens.

        Returns:
            The transformed tokens.
        """
        dim = x.shape[-1]
        x = Dense(int(dim * self.ratio), dtype=self.dtype, name="fc1")(x)
        x = exact_gelu(x)
        return Dense(dim, dtype=self.dtype, name="fc2")(x)


@flax.struct.dataclass
class DropPath:
    """Stochastic depth in training: leaves out a block's residual branches, clip by clip.

    The leaves are those of one block, or of all blocks, stacked.

    Attributes:
        rate: Probability of leaving out a branch, float32.
        key: Key of the block's randomness.
    """

    rate: Any
    key: Any

    def __call__(self, branch: int, y: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        """Sets a branch to zero for some clips, and scales it up for the others.

        Args:
            branch: Number of the branch in its block.
            y: What the branch adds to the tokens.

        Returns:
            The same, on average.
        """
        kept = 1.0 - self.rate
        key = jax.random.fold_in(self.key, branch)
        chosen = jax.random.bernoulli(key, kept, (y.shape[0], 1, 1))
        return jnp.where(chosen, y / jnp.asarray(kept, y.dtype), 0)


def keep_path(branch: int, y: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
    """Leaves a branch as it is: what stands in for `DropPath` where there is none."""
    del branch
    return y


class Block(nn.Module):
    """A pre-LayerNorm transformer block with joint attention.

    Attributes:
        heads: Number of heads.
        mlp_ratio: Hidden width of the MLP over token width.
        dtype: Compute dtype, of the residual stream too.
        attention: See `dot_product_attention`.
    """

    heads: int
    mlp_ratio: float = 4.0
    dtype: DTypeLike = jnp.float32
    attention: str = "xla"

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], drop_path: DropPath | None = None
    ) -> Float[Array, "b n d"]:
        """Applies attention, then the MLP.

        Args:
            x: Tokens.
            drop_path: Of this block; None outside training.

        Returns:
            The tokens.
        """
        path = drop_path or keep_path
        y = LayerNorm(dtype=self.dtype, name="norm1")(x)
        y = Attention(self.heads, self.dtype, self.attention, name="attention")(y)
        x = x + path(0, y)
        y = LayerNorm(dtype=self.dtype, name="norm2")(x)
        y = Mlp(self.mlp_ratio, self.dtype, name="mlp")(y)
        return x + path(1, y)
