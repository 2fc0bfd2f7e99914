"""Parameters of scanned blocks and of unrolled ones, one made into the other.

A scanned stack has `blocks/stacked/...`, each array with a first axis of the depth; an unrolled one
has `blocks/0/...`, `blocks/1/...`.
"""

from collections.abc import Mapping
from typing import Any

import jax
from jaxtyping import PyTree

from mgm_jax.models.blocks import STACKED


def stack(tree: PyTree) -> PyTree:
    """Stacks the arrays of all blocks.

    Args:
        tree: Parameters, or anything that holds trees like theirs, such as a train state with its
            optimizer's moments. What is stacked already stays as it is.

    Returns:
        The same with one array where there was one per block.
    """

    def stack_blocks(blocks: Mapping[str, Any]) -> dict[str, Any]:
        in_order = [blocks[str(i)] for i in range(len(blocks))]
        return {
            STACKED: jax.tree.map(
                lambda *leaves: leaves[0].__array_namespace__().stack(leaves), *in_order
            )
        }

    return _replace(tree, lambda blocks: blocks if STACKED in blocks else stack_blocks(blocks))


def unstack(tree: PyTree) -> PyTree:
    """Takes stacked arrays apart; the inverse of `stack`.

    Args:
        tree: As for `stack`. What is not stacked stays as it is.

    Returns:
        The same with an array per block.
    """

    def split_blocks(blocks: Mapping[str, Any]) -> dict[str, Any]:
        stacked = blocks[STACKED]
        depth = len(jax.tree.leaves(stacked)[0])
        return {str(i): jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(depth)}

    return _replace(tree, lambda blocks: split_blocks(blocks) if STACKED in blocks else blocks)


def is_stacked(path: str) -> bool:
    """Whether the parameter of a path, with slashes, is stacked."""
    return f"blocks/{STACKED}/" in path


def _replace(tree: PyTree, change: Any) -> PyTree:
    """Changes every branch named "blocks" of a tree."""

    def holds_blocks(node: Any) -> bool:
        return isinstance(node, Mapping) and isinstance(node.get("blocks"), Mapping)

    return jax.tree.map(
        lambda node: {**node, "blocks": change(node["blocks"])} if holds_blocks(node) else node,
        tree,
        is_leaf=holds_blocks,
    )
