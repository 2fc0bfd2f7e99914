"""The transformer's parts: positions, attention, blocks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Float32

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


def dot_product_attention(
    query: Float[Array, "b n heads head_dim"],
    key: Float[Array, "b m heads head_dim"],
    value: Float[Array, "b m heads head_dim"],
    implementation: str = "xla",
) -> Float[Array, "b n heads head_dim"]:
    """Attends: softmax(q·kᵀ / √head_dim)·v, with the softmax in float32.

    Args:
        query: Queries.
        key: Keys.
        value: Values.
        implementation: "xla" is the formula written out. It equals `jax.nn.dot_product_attention`
            but for a grouping axis, which keeps XLA:CPU from fusing softmax and products and
            makes it copy the weights. "cudnn" is the flash attention of NVIDIA GPUs, which never
            holds the n×m weights; bfloat16 only.

    Returns:
        The attended values.

    Raises:
        ValueError: No such implementation.
    """
    if implementation == "cudnn":
        return jax.nn.dot_product_attention(query, key, value, implementation="cudnn")
    if implementation != "xla":
        raise ValueError(f"no attention named {implementation!r}; choose 'xla' or 'cudnn'")
    # bfloat16 operands, float32 sums; named, because else the backward pass would multiply float32
    # by bfloat16.
    precision = jax.lax.DotAlgorithmPreset.BF16_BF16_F32 if query.dtype == jnp.bfloat16 else None
    scores = jnp.einsum(
        "bqhd,bkhd->bhqk", query, key, precision=precision, preferred_element_type=jnp.float32
    )
    weights = jax.nn.softmax(scores * query.shape[-1] ** -0.5).astype(value.dtype)
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
    """Joint self-attention with biases on queries and values only, as VideoMAE.

    Attributes:
        heads: Number of heads.
        dtype: Compute dtype.
        implementation: See `dot_product_attention`.
    """

    heads: int
    dtype: DTypeLike = jnp.float32
    implementation: str = "xla"

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        """Attends among all tokens of a clip.

        Args:
            x: Tokens.

        Returns:
            The attended tokens.
        """
        dim = x.shape[-1]
        heads = (self.heads, dim // self.heads)
        qkv = DenseGeneral((3, *heads), use_bias=False, dtype=self.dtype, name="qkv")(x)
        q_bias = self.param("q_bias", nn.initializers.zeros, heads)
        v_bias = self.param("v_bias", nn.initializers.zeros, heads)
        query = qkv[:, :, 0] + q_bias.astype(self.dtype)
        key = qkv[:, :, 1]
        value = qkv[:, :, 2] + v_bias.astype(self.dtype)
        x = dot_product_attention(query, key, value, self.implementation)
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


class Block(nn.Module):
    """A pre-LayerNorm transformer block.

    Attributes:
        heads: Number of heads.
        mlp_ratio: Hidden width of the MLP over token width.
        drop_path: Probability, per clip, of leaving out a residual branch in training.
        dtype: Compute dtype, of the residual stream too.
        attention: See `dot_product_attention`.
    """

    heads: int
    mlp_ratio: float = 4.0
    drop_path: float = 0.0
    dtype: DTypeLike = jnp.float32
    attention: str = "xla"

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], train: bool = False) -> Float[Array, "b n d"]:
        """Applies attention, then the MLP.

        Args:
            x: Tokens.
            train: Whether paths are dropped; they need the random stream "dropout".

        Returns:
            The tokens.
        """
        drop_path = nn.Dropout(self.drop_path, broadcast_dims=(1, 2), deterministic=not train)
        y = LayerNorm(dtype=self.dtype, name="norm1")(x)
        y = Attention(self.heads, self.dtype, self.attention, name="attention")(y)
        x = x + drop_path(y)
        y = LayerNorm(dtype=self.dtype, name="norm2")(x)
        y = Mlp(self.mlp_ratio, self.dtype, name="mlp")(y)
        return x + drop_path(y)


class Blocks(nn.Module):
    """A stack of blocks, whose drop path grows linearly from 0 to the last block's rate.

    Attributes:
        depth: Number of blocks.
        heads: Number of heads.
        mlp_ratio: Hidden width of the MLP over token width.
        drop_path: Drop-path rate of the last block.
        dtype: Compute dtype.
        attention: See `dot_product_attention`.
        remat: Whether a block's activations are computed again in the backward pass instead of
            kept: less memory for about a third more time.
    """

    depth: int
    heads: int
    mlp_ratio: float = 4.0
    drop_path: float = 0.0
    dtype: DTypeLike = jnp.float32
    attention: str = "xla"
    remat: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], train: bool = False) -> Float[Array, "b n d"]:
        """Applies the blocks in turn.

        Args:
            x: Tokens.
            train: Whether paths are dropped.

        Returns:
            The tokens, without a final LayerNorm.
        """
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        rates = np.linspace(0.0, self.drop_path, self.depth)
        for i, rate in enumerate(rates):
            x = block(
                self.heads, self.mlp_ratio, float(rate), self.dtype, self.attention, name=str(i)
            )(x, train)
        return x
