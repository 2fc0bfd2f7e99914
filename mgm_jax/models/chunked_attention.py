"""Attention that never holds all weights: a loop over queries, for processors with caches.

The backward pass computes the weights again from the logarithm of each query's sum, as flash
attention (Dao et al., 2022) does. Under bfloat16 its gradients are as exact as the output's
rounding, from which they subtract.

The clips and heads stay outside the loop, so that a mesh may split them. Forward-mode derivatives
are not defined.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32

QUERIES_AT_ONCE = 392
"""Two steps of a clip of 224x224 pixels; fewer tokens are one block, without a loop. Products of
half as many keep a CPU's cores less busy."""

Heads = Float[Array, "b heads _ head_dim"]
Mask = Bool[Array, "#b 1 n m"] | None


def chunked_attention(
    query: Float[Array, "b n heads head_dim"],
    key: Float[Array, "b m heads head_dim"],
    value: Float[Array, "b m heads head_dim"],
    mask: Bool[Array, "#b 1 n m"] | None = None,
    queries_at_once: int = QUERIES_AT_ONCE,
) -> Float[Array, "b n heads head_dim"]:
    """Attends: softmax(q·kᵀ / √head_dim)·v, with the softmax in float32.

    Args:
        query: Queries.
        key: Keys.
        value: Values.
        mask: Keys that a query attends to, one at least; None for all.
        queries_at_once: Queries of a turn of the loop; the last turn takes the rest.

    Returns:
        The attended values.
    """
    heads_first = (x.swapaxes(1, 2) for x in (query, key, value))
    return _attend(*heads_first, mask, queries_at_once).swapaxes(1, 2)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _attend(query: Heads, key: Heads, value: Heads, mask: Mask, queries_at_once: int) -> Heads:
    return _attend_forward(query, key, value, mask, queries_at_once)[0]


def _attend_forward(
    query: Heads, key: Heads, value: Heads, mask: Mask, queries_at_once: int
) -> tuple[Heads, tuple[Any, ...]]:
    def attend_block(carry: tuple[()], block: tuple[Any, ...]) -> tuple[tuple[()], Any]:
        scores = _scores(block[0], key, block[1])
        highest = scores.max(axis=-2)
        weights = jnp.exp(scores - highest[..., None, :])
        total = weights.sum(axis=-2)
        out = _einsum("bhkq,bhkd->bhqd", weights.astype(value.dtype), value) / total[..., None]
        return carry, (out.astype(value.dtype), highest + jnp.log(total))

    _, (out, log_sum) = _over_queries(attend_block, (), (query, mask), queries_at_once)
    return out, (query, key, value, mask, out, log_sum)


def _attend_backward(
    queries_at_once: int, kept: tuple[Any, ...], gradient: Heads
) -> tuple[Heads, Heads, Heads, None]:
    query, key, value, mask, out, log_sum = kept
    # What softmax takes off the gradient of each weight: its mean under the weights.
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
    (by_key, by_value), by_query = _over_queries(pull_back_block, zeros, blocks, queries_at_once)
    return by_query, by_key.astype(key.dtype), by_value.astype(value.dtype), None


_attend.defvjp(_attend_forward, _attend_backward)


def _scores(query: Heads, key: Heads, mask: Mask) -> Float32[Array, "b heads m n"]:
    scores = _einsum("bhkd,bhqd->bhkq", key, query) * query.shape[-1] ** -0.5
    return scores if mask is None else jnp.where(mask.swapaxes(-1, -2), scores, -jnp.inf)


def _einsum(equation: str, one: Array, other: Array) -> Float32[Array, "..."]:
    """A product of one dtype, summed in float32, as `layers.attention_weights` takes it."""
    precision = jax.lax.DotAlgorithmPreset.BF16_BF16_F32 if one.dtype == jnp.bfloat16 else None
    return jnp.einsum(equation, one, other, precision=precision, preferred_element_type=jnp.float32)


def _over_queries(
    function: Callable[[Any, Any], tuple[Any, Any]], carry: Any, arrays: Any, size: int
) -> tuple[Any, Any]:
    """Scans over blocks of the third axis, that of the queries, then takes what is left over."""
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
