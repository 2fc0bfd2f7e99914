"""Scaled dot-product attention: its implementations, and the self-attention layer.

"xla" is the formula written out. It equals `jax.nn.dot_product_attention` except for a grouping
axis, which would keep XLA from fusing softmax and products on CPUs. "cudnn" is the flash attention
of NVIDIA GPUs (bfloat16 only), "splash" that of TPUs. "chunked" computes a block of queries at a
time, for processors with caches: with many tokens it is faster on a CPU. The last three never hold
all n·m weights. "auto" is the fastest that the processor has (`flash.choose`).

As in flash attention (Dao et al., 2022), the backward pass of "chunked" recomputes the weights from
the log-sum-exp of each query. It runs over the tokens of each clip and head, so a mesh may split
clips and heads. It has no forward-mode derivative.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Float32

from mgm_jax.models.flash import CHUNK_SIZE, choose, splash_attention
from mgm_jax.models.layers import DenseGeneral, TransformerConfig

HeadsFirst = Float[Array, "b heads _ head_dim"]
Mask = Bool[Array, "#b 1 n m"] | None


def attention_weights(
    query: Float[Array, "b n heads head_dim"],
    key: Float[Array, "b m heads head_dim"],
    mask: Mask = None,
) -> Float32[Array, "b heads n m"]:
    """Computes softmax(q·kᵀ / √head_dim) in float32.

    The mask is True where a query attends to a key; each query needs at least one. None attends to
    all.
    """
    scores = _einsum("bqhd,bkhd->bhqk", query, key) * query.shape[-1] ** -0.5
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf)
    return jax.nn.softmax(scores)


def dot_product_attention(
    query: Float[Array, "b n heads head_dim"],
    key: Float[Array, "b m heads head_dim"],
    value: Float[Array, "b m heads head_dim"],
    implementation: str = "xla",
    mask: Mask = None,
) -> Float[Array, "b n heads head_dim"]:
    """Computes softmax(q·kᵀ / √head_dim)·v with the softmax in float32.

    For the implementations see the module, for the mask `attention_weights`.

    Raises:
        ConfigError: The implementation cannot run here.
    """
    implementation = choose(implementation, query, mask is not None)
    if implementation == "cudnn":
        return jax.nn.dot_product_attention(query, key, value, mask=mask, implementation="cudnn")
    if implementation == "splash":
        return splash_attention(query, key, value)
    if implementation == "chunked":
        return chunked_attention(query, key, value, mask)
    weights = attention_weights(query, key, mask).astype(value.dtype)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, value)


def chunked_attention(
    query: Float[Array, "b n heads head_dim"],
    key: Float[Array, "b m heads head_dim"],
    value: Float[Array, "b m heads head_dim"],
    mask: Mask = None,
    chunk_size: int = CHUNK_SIZE,
) -> Float[Array, "b n heads head_dim"]:
    """Computes `dot_product_attention` for `chunk_size` queries at a time."""
    query, key, value = (x.swapaxes(1, 2) for x in (query, key, value))
    return _attend(query, key, value, mask, chunk_size).swapaxes(1, 2)


class Attention(nn.Module):
    """Self-attention with biases on queries and values only, as VideoMAE.

    A bias on the keys would add the same number to all scores of a query, and so change nothing.

    Queries and keys are sown into the collection "intermediates", for attention maps.
    """

    config: TransformerConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], mask: Mask = None) -> Float[Array, "b n d"]:
        """Attends among the tokens of each clip; for the mask see `attention_weights`."""
        config = self.config
        heads = (config.heads, config.dim // config.heads)
        qkv = DenseGeneral((3, *heads), use_bias=False, dtype=config.dtype, name="qkv")(x)
        q_bias = self.param("q_bias", nn.initializers.zeros, heads)
        v_bias = self.param("v_bias", nn.initializers.zeros, heads)
        # The gradient of a split joins three arrays; that of indexing pads each of them and adds.
        query, key, value = (part.squeeze(2) for part in jnp.split(qkv, 3, axis=2))
        query = query + q_bias.astype(config.dtype)
        value = value + v_bias.astype(config.dtype)
        self.sow("intermediates", "query", query)
        self.sow("intermediates", "key", key)
        implementation = config.attention
        if self.is_initializing():
            # No parameter depends on the result, and one clip does not divide over a mesh.
            choose(implementation, query, mask is not None, log=False)
            implementation = "xla"
        x = dot_product_attention(query, key, value, implementation, mask)
        return DenseGeneral(config.dim, axis=(-2, -1), dtype=config.dtype, name="proj")(x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _attend(
    query: HeadsFirst, key: HeadsFirst, value: HeadsFirst, mask: Mask, chunk_size: int
) -> HeadsFirst:
    return _attend_forward(query, key, value, mask, chunk_size)[0]


def _attend_forward(
    query: HeadsFirst, key: HeadsFirst, value: HeadsFirst, mask: Mask, chunk_size: int
) -> tuple[HeadsFirst, tuple[Any, ...]]:
    def attend_block(carry: tuple[()], block: tuple[Any, ...]) -> tuple[tuple[()], Any]:
        scores = _scores(block[0], key, block[1])
        highest = scores.max(axis=-2)
        weights = jnp.exp(scores - highest[..., None, :])
        total = weights.sum(axis=-2)
        out = _einsum("bhkq,bhkd->bhqd", weights.astype(value.dtype), value) / total[..., None]
        return carry, (out.astype(value.dtype), highest + jnp.log(total))

    _, (out, log_sum) = _over_queries(attend_block, (), (query, mask), chunk_size)
    return out, (query, key, value, mask, out, log_sum)


def _attend_backward(
    chunk_size: int, kept: tuple[Any, ...], gradient: HeadsFirst
) -> tuple[HeadsFirst, HeadsFirst, HeadsFirst, None]:
    query, key, value, mask, out, log_sum = kept
    # The gradient of softmax subtracts the mean, under the weights, of the incoming gradient.
    mean = (out.astype(jnp.float32) * gradient.astype(jnp.float32)).sum(axis=-1)

    def pull_back_block(carry: tuple[Any, Any], block: tuple[Any, ...]) -> tuple[Any, Any]:
        query, mask, log_sum, mean, gradient = block
        weights = jnp.exp(_scores(query, key, mask) - log_sum[..., None, :])
        by_score = _einsum("bhkd,bhqd->bhkq", value, gradient) - mean[..., None, :]
        by_score = (weights * by_score * query.shape[-1] ** -0.5).astype(query.dtype)
        by_key = carry[0] + _einsum("bhkq,bhqd->bhkd", by_score, query)
        by_value = carry[1] + _einsum("bhkq,bhqd->bhkd", weights.astype(value.dtype), gradient)
        return (by_key, by_value), _einsum("bhkq,bhkd->bhqd", by_score, key).astype(query.dtype)

    zeros = (jnp.zeros_like(key, jnp.float32), jnp.zeros_like(value, jnp.float32))
    blocks = (query, mask, log_sum, mean, gradient)
    (by_key, by_value), by_query = _over_queries(pull_back_block, zeros, blocks, chunk_size)
    return by_query, by_key.astype(key.dtype), by_value.astype(value.dtype), None


_attend.defvjp(_attend_forward, _attend_backward)


def _scores(query: HeadsFirst, key: HeadsFirst, mask: Mask) -> Float32[Array, "b heads m n"]:
    scores = _einsum("bhkd,bhqd->bhkq", key, query) * query.shape[-1] ** -0.5
    return scores if mask is None else jnp.where(mask.swapaxes(-1, -2), scores, -jnp.inf)


def _einsum(equation: str, one: Array, other: Array) -> Float32[Array, "..."]:
    """An einsum of two arrays of the same dtype, with sums and result in float32."""
    # Without a named algorithm, the backward pass would multiply float32 by bfloat16.
    precision = jax.lax.DotAlgorithmPreset.BF16_BF16_F32 if one.dtype == jnp.bfloat16 else None
    return jnp.einsum(equation, one, other, precision=precision, preferred_element_type=jnp.float32)


def _over_queries(
    function: Callable[[Any, Any], tuple[Any, Any]], carry: Any, arrays: Any, size: int
) -> tuple[Any, Any]:
    """Scans over blocks of the queries, which are axis 2, then applies the function to the rest."""
    num_queries = arrays[0].shape[2]
    whole = num_queries - num_queries % size
    made = []
    if whole:
        blocks = jax.tree.map(
            lambda x: jnp.moveaxis(
                x[:, :, :whole].reshape(*x.shape[:2], -1, size, *x.shape[3:]), 2, 0
            ),
            arrays,
        )
        carry, outputs = jax.lax.scan(function, carry, blocks)
        made.append(
            jax.tree.map(
                lambda y: jnp.moveaxis(y, 0, 2).reshape(*y.shape[1:3], whole, *y.shape[4:]),
                outputs,
            )
        )
    if whole < num_queries:
        carry, outputs = function(carry, jax.tree.map(lambda x: x[:, :, whole:], arrays))
        made.append(outputs)
    return carry, jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=2), *made)
