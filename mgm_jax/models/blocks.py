"""A transformer's stack of blocks, and its parameters: an array per block, or stacked arrays.

An unrolled stack has parameters `blocks/0/...`, `blocks/1/...`; a scanned one has
`blocks/stacked/...`, each array with a first axis of length depth.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, PyTree

from mgm_jax.models.attention import Attention
from mgm_jax.models.layers import DropPath, LayerNorm, Mlp, TransformerConfig
from mgm_jax.models.timesformer import DividedBlock

STACKED = "stacked"
"""Name of the block of a scanned stack."""

# Logical names of the tokens' axes, which `nn.logical_axis_rules` maps to a mesh; without rules
# they do nothing. With FSDP they keep the tokens of a scan split by clips: XLA would split their
# channels, as the parameters are, and exchange them in every block.
_TOKEN_AXES = ("batch", None, None)

_REMAT_POLICIES: dict[str, Callable[..., bool] | None] = {
    "full": None,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


class Block(nn.Module):
    """A pre-LayerNorm transformer block with joint attention; all activations have one dtype."""

    config: TransformerConfig
    grid: tuple[int, int, int] = (1, 1, 1)  # Makes no difference, nor do positions.

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        drop_path: DropPath,
        visible_ids: Int[Array, "b n"] | None = None,
    ) -> Float[Array, "b n d"]:
        """Applies attention, then the MLP."""
        y = LayerNorm(dtype=self.config.dtype, name="norm1")(x)
        x = x + drop_path(0, Attention(self.config, name="attention")(y))
        y = LayerNorm(dtype=self.config.dtype, name="norm2")(x)
        return x + drop_path(1, Mlp(self.config, name="mlp")(y))


class Blocks(nn.Module):
    """A stack of blocks; `remat` and `scan` change its results by rounding only."""

    config: TransformerConfig
    grid: tuple[int, int, int] = (1, 1, 1)  # Only divided attention needs it.

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        train: bool = False,
        visible_ids: Int[Array, "b n"] | None = None,
    ) -> Float[Array, "b n d"]:
        """Applies the blocks in turn, without a final LayerNorm.

        Args:
            x: Tokens.
            train: Whether to apply drop path, which needs the random stream "dropout".
            visible_ids: Flat positions of the tokens; None if they are all of a clip in order.
        """
        depth, drop_paths = self.config.depth, DropPath()
        if train and self.config.drop_path:
            rates = jnp.linspace(0.0, self.config.drop_path, depth)
            drop_paths = DropPath(rates, jax.random.split(self.make_rng("dropout"), depth))
        block: Any = DividedBlock if self.config.backbone == "timesformer_divided" else Block
        if self.config.remat != "none":
            # In a loop, the compiler cannot merge the two computations by CSE anyway.
            policy = _REMAT_POLICIES[self.config.remat]
            block = nn.remat(block, policy=policy, prevent_cse=not self.config.scan)
        make_block = functools.partial(block, self.config, self.grid)
        if self.config.scan:
            scanned = nn.scan(
                lambda block, x, drop_path, visible_ids: (
                    block(nn.with_logical_constraint(x, _TOKEN_AXES), drop_path, visible_ids),
                    None,
                ),
                variable_axes={"params": 0, "intermediates": 0},
                split_rngs={"params": True},
                in_axes=(0, nn.broadcast),
                length=depth,
            )
            return scanned(make_block(name=STACKED), x, drop_paths, visible_ids)[0]
        for i in range(depth):
            drop_path = jax.tree.map(lambda leaf, i=i: leaf[i], drop_paths)
            x = make_block(name=str(i))(x, drop_path, visible_ids)
        return x


def stack(tree: PyTree) -> PyTree:
    """Stacks the arrays of all blocks, so that they fit a scanned model.

    Args:
        tree: Parameters, or anything that contains trees like them, such as an optimizer's state.
            Arrays that are stacked already stay as they are.
    """

    def stack_blocks(blocks: Mapping[str, Any]) -> Mapping[str, Any]:
        if STACKED in blocks:
            return blocks
        in_order = [blocks[str(i)] for i in range(len(blocks))]
        return {
            STACKED: jax.tree.map(
                lambda *leaves: leaves[0].__array_namespace__().stack(leaves), *in_order
            )
        }

    return _map_blocks(stack_blocks, tree)


def unstack(tree: PyTree) -> PyTree:
    """Splits stacked arrays, so that they fit an unrolled model; the inverse of `stack`."""

    def split_blocks(blocks: Mapping[str, Any]) -> Mapping[str, Any]:
        if STACKED not in blocks:
            return blocks
        stacked = blocks[STACKED]
        depth = len(jax.tree.leaves(stacked)[0])
        return {str(i): jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(depth)}

    return _map_blocks(split_blocks, tree)


def is_stacked(path: str) -> bool:
    """Whether the parameter at a path such as `encoder/blocks/stacked/norm1/scale` is stacked."""
    return f"blocks/{STACKED}/" in path


def _map_blocks(change: Callable[[Mapping[str, Any]], Mapping[str, Any]], tree: PyTree) -> PyTree:
    """Changes every branch named "blocks" of a tree."""

    def holds_blocks(node: Any) -> bool:
        return isinstance(node, Mapping) and isinstance(node.get("blocks"), Mapping)

    return jax.tree.map(
        lambda node: {**node, "blocks": change(node["blocks"])} if holds_blocks(node) else node,
        tree,
        is_leaf=holds_blocks,
    )
