"""Gradient accumulation: a batch is computed in parts, which takes less memory for activations."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree

LossFn = Callable[[Any, Any, Key[Array, ""]], tuple[Float[Array, ""], Any]]


def value_and_grad(
    loss_fn: LossFn,
    params: PyTree,
    rows: PyTree,
    weights: Float[Array, " b"] | Bool[Array, " b"],
    key: Key[Array, ""],
    num_parts: int = 1,
) -> tuple[tuple[Float[Array, ""], Any], PyTree]:
    """As `jax.value_and_grad(..., has_aux=True)`, but computes the batch in parts, one by one.

    Part i has every `num_parts`-th clip from clip i on, so each part is spread over all devices
    that the batch is spread over, and no data moves between devices. The result is that of the
    whole batch up to rounding, except that each part draws its own randomness.

    `rows` is a tree of arrays with a row per clip. `loss_fn(params, rows, key)` returns the mean
    loss, weighted by `weights`, and a tree of arrays with a row per clip, or None. `num_parts` must
    divide the number of clips on each device.
    """
    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
    if num_parts == 1:
        return grad_fn(params, rows, key)
    weight = _split(weights, num_parts).astype(jnp.float32).sum(axis=1)
    total = weight.sum()

    def add_part(sums: tuple[Any, Any], part: tuple[Any, Any, Any]) -> tuple[tuple[Any, Any], Any]:
        part_rows, share, part_key = part
        (loss, aux), gradients = grad_fn(params, part_rows, part_key)
        return jax.tree.map(lambda s, new: s + share * new, sums, (loss, gradients)), aux

    parts = (
        jax.tree.map(lambda leaf: _split(leaf, num_parts), rows),
        weight / jnp.where(total > 0, total, 1.0),
        jax.random.split(key, num_parts),
    )
    zeros = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
    (loss, gradients), aux = jax.lax.scan(add_part, zeros, parts)
    return (loss, jax.tree.map(_join, aux)), gradients


def _split(leaf: Array, num_parts: int) -> Array:
    return leaf.reshape(-1, num_parts, *leaf.shape[1:]).swapaxes(0, 1)


def _join(leaf: Array) -> Array:
    return leaf.swapaxes(0, 1).reshape(-1, *leaf.shape[2:])
