"""Gradient accumulation: a batch is computed in parts, which takes less memory for activations."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree

from mgm_jax.training import sharding

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

    Each part has clips of all devices, so no clip moves between devices. Along the mesh axis `data`
    each device sums the gradients of its own clips, and the sums are reduced once, after the last
    part. The result is that of the whole batch up to rounding, except that each part, and each
    device along `data`, draws its own randomness.

    `rows` is a tree of arrays with a row per clip. `loss_fn(params, rows, key)` returns the mean
    loss, weighted by `weights`, and a tree of arrays with a row per clip, or None. `num_parts` must
    divide the number of clips on each device.
    """
    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
    if num_parts == 1:
        return grad_fn(params, rows, key)
    mesh = jax.sharding.get_abstract_mesh()
    data, fsdp = (1, 1) if mesh.empty else (mesh.shape["data"], mesh.shape["fsdp"])
    grad_fn = jax.vmap(grad_fn, (None, 0, 0), spmd_axis_name=None if mesh.empty else "data")

    def split(leaf: Array) -> Array:
        """[clips, ...] to [parts, data, clips of a part, ...], where every device keeps its own."""
        leaf = jnp.moveaxis(leaf.reshape(data, fsdp, num_parts, -1, *leaf.shape[1:]), 2, 0)
        return leaf.reshape(num_parts, data, -1, *leaf.shape[4:])

    def join(leaf: Array) -> Array:
        leaf = jnp.moveaxis(leaf.reshape(num_parts, data, fsdp, -1, *leaf.shape[3:]), 0, 2)
        return leaf.reshape(-1, *leaf.shape[4:])

    weight = split(weights).astype(jnp.float32).sum(axis=2)
    total = weight.sum()

    def add_part(sums: tuple[Any, Any], part: tuple[Any, Any, Any]) -> tuple[tuple[Any, Any], Any]:
        part_rows, share, part_keys = part
        (loss, aux), gradients = grad_fn(params, part_rows, part_keys)

        def add(old: Array, new: Array) -> Array:
            return old + share.reshape(data, *[1] * (new.ndim - 1)) * new

        return jax.tree.map(add, sums, (loss, gradients)), aux

    parts = (
        jax.tree.map(split, rows),
        weight / jnp.where(total > 0, total, 1.0),
        jax.random.split(key, (num_parts, data)),
    )
    zeros = jax.tree.map(lambda leaf: jnp.zeros((data, *leaf.shape)), (jnp.zeros(()), params))
    with nn.logical_axis_rules(sharding.ACTIVATION_RULES_WITHIN_DATA):
        sums, aux = jax.lax.scan(add_part, zeros, parts)
    loss, gradients = jax.tree.map(lambda leaf: leaf.sum(axis=0), sums)
    return (loss, jax.tree.map(join, aux)), gradients
