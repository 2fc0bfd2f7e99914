"""The configuration of a transformer, and the layers that its blocks are made of."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Float32

from mgm_jax.errors import ConfigError

# VideoMAE's initialization of the transformers' linear layers. `nn.DenseGeneral` draws its kernel
# as a matrix [in, out] and then reshapes it, so the fused query-key-value kernel has the fan-in and
# fan-out of the original's [3·dim, dim] matrix.
Dense = functools.partial(nn.Dense, kernel_init=nn.initializers.xavier_uniform())
DenseGeneral = functools.partial(nn.DenseGeneral, kernel_init=nn.initializers.xavier_uniform())


def uniform_init(fan_in: int) -> nn.initializers.Initializer:
    """PyTorch's own initialization of kernel and bias, which VideoMAE keeps where it sets none.

    Values are uniform within ±1/√fan_in: a third of the variance of LeCun's initialization.
    """
    bound = fan_in**-0.5

    def init(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


# flax computes the statistics in float32 for every dtype.
LayerNorm = functools.partial(nn.LayerNorm, epsilon=1e-6)


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """Shape and options of one transformer.

    Attributes:
        dim: Width of a token.
        mlp_ratio: Hidden width of the MLP over `dim`.
        drop_path: Drop-path rate of the last block, below 1; the rates of the blocks grow linearly
            from 0.
        dtype: Dtype of the computation, "float32" or "bfloat16"; parameters are float32.
        attention: Implementation of `attention.dot_product_attention`.
        remat: What the backward pass computes again to save memory: "none"; "full", everything
            but the inputs of the blocks, for about a third more time; or "dots", everything but
            the outputs of linear layers.
        backbone: "vit" has joint attention and fixed positions, as VideoMAE;
            "timesformer_divided" and "timesformer_joint" have TimeSformer's learned positions and
            divided or joint attention. Decoders are "vit".
        positions: Fixed positions of a "vit": "sincos", VideoMAE's flat table, or "sincos_axes",
            time, height and width apart, from which small models learn faster.

    Raises:
        ConfigError: The heads do not divide the width.
    """

    dim: int
    depth: int
    heads: int
    mlp_ratio: float = 4.0
    drop_path: float = 0.0
    dtype: str = "float32"
    attention: str = "auto"
    remat: str = "none"
    backbone: str = "vit"
    positions: str = "sincos"

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise ConfigError(
                f"config.model: a width (dim) of {self.dim} does not divide into {self.heads} "
                "heads; set config.model.encoder.dim, or .decoder.dim, to a multiple of its heads"
            )


def without_kernels(model: nn.Module) -> nn.Module:
    """A model that computes the same with attention written out, on any devices and any mesh."""
    configs = {
        name: dataclasses.replace(config, attention="xla")
        for name in ("encoder_config", "decoder_config")
        if (config := getattr(model, name, None)) is not None
    }
    return model.clone(**configs)


@functools.lru_cache(maxsize=8)
def sincos_position_table(positions: int, dim: int) -> Float32[np.ndarray, "{positions} {dim}"]:
    """VideoMAE's fixed position embeddings.

    Channel i of position p is p / 10000^(2·(i // 2) / dim), through sin where i is even and cos
    where it is odd. Positions are flat, 0 … positions - 1, not factored into time, height, width.
    """
    channels = np.arange(dim)
    angles = np.arange(positions)[:, None] / 10000.0 ** (2 * (channels // 2) / dim)
    return np.where(channels % 2 == 0, np.sin(angles), np.cos(angles)).astype(np.float32)


@functools.lru_cache(maxsize=8)
def axes_position_table(grid: tuple[int, int, int], dim: int) -> Float32[np.ndarray, "n {dim}"]:
    """Fixed position embeddings of time, height and width apart, as in V-JEPA (uniform_power).

    Each axis has k = ⌈dim / 6⌉ frequencies 10000^(-i / k): their sines, then their cosines. Time
    comes first and width last; channels beyond `dim` are left out.
    """
    count = math.ceil(dim / 6)
    frequencies = 10000.0 ** (-np.arange(count) / count)
    angles = [place.reshape(-1, 1) * frequencies for place in np.indices(grid)]
    channels = [part for angle in angles for part in (np.sin(angle), np.cos(angle))]
    return np.concatenate(channels, axis=1)[:, :dim].astype(np.float32)


def fixed_positions(
    config: TransformerConfig, grid: tuple[int, int, int]
) -> Float[Array, "n {config.dim}"]:
    """The position embeddings of the tokens of a grid (t, h, w), in the model's dtype."""
    if config.positions == "sincos_axes":
        table = axes_position_table(grid, config.dim)
    else:
        table = sincos_position_table(math.prod(grid), config.dim)
    return jnp.asarray(table, config.dtype)


@jax.custom_jvp
def exact_gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Computes x·Φ(x) in float32 and returns it in the dtype of x.

    `jax.nn.gelu(approximate=False)` uses erfc, whose forward pass is several times slower than
    that of erf on CPUs.
    """
    wide = x.astype(jnp.float32)
    return (0.5 * wide * (1.0 + jax.lax.erf(wide * 0.5**0.5))).astype(x.dtype)


@exact_gelu.defjvp
def _exact_gelu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    wide = x.astype(jnp.float32)
    # With the forward pass's erf, XLA would keep it; this one is computed where it is needed.
    cdf = 0.5 - 0.5 * jax.lax.erf(wide * -(0.5**0.5))
    density = jnp.exp(-0.5 * wide**2) * (2.0 * math.pi) ** -0.5
    return exact_gelu(x), ((cdf + wide * density) * tangent.astype(jnp.float32)).astype(x.dtype)


class Mlp(nn.Module):
    """Two linear layers with the exact GELU between them."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        """Transforms each token independently."""
        dim, dtype = self.config.dim, self.config.dtype
        # A width over `dim`, as in weights that are read, need not come back exactly.
        x = Dense(int(dim * self.config.mlp_ratio + 1e-6), dtype=dtype, name="fc1")(x)
        x = exact_gelu(x)
        return Dense(dim, dtype=dtype, name="fc2")(x)


@flax.struct.dataclass
class DropPath:
    """Stochastic depth: randomly zeroes a block's residual branches, clip by clip.

    Attributes:
        rate: Probability of zeroing a branch, float32; None keeps all branches, as in evaluation.
        key: Random key of the block.
    """

    rate: Any = None
    key: Any = None

    def __call__(self, branch: int, y: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        """Zeroes the output of branch number `branch`, or scales it by 1 / (1 - rate)."""
        if self.rate is None:
            return y
        kept = 1.0 - self.rate
        key = jax.random.fold_in(self.key, branch)
        chosen = jax.random.bernoulli(key, kept, (y.shape[0], 1, 1))
        # In bfloat16, 0.95 itself would be off by 0.1 %, always to the same side.
        return jnp.where(chosen, y.astype(jnp.float32) / kept, 0).astype(y.dtype)
