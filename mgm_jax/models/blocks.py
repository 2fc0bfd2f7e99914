"""A stack of transformer blocks: unrolled or scanned, its activations kept or computed again."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from mgm_jax.errors import ConfigError
from mgm_jax.models import layers, timesformer

STACKED = "stacked"
"""Name of the scanned block, whose parameters have one more axis, the first, of the depth."""

# Logical names of the tokens' axes, mapped to a mesh by `nn.logical_axis_rules`. Without the rules
# nothing happens. With them, tokens stay split by clips inside a scan, where XLA would rather split
# their channels as the parameters of FSDP are, and exchange them in every block.
_TOKEN_AXES = ("batch", None, None)

# What a block keeps for the backward pass.
_REMAT_POLICIES: dict[str, Callable[..., bool] | None] = {
    "full": None,
    # Keeps what linear layers compute; attention, norms and activations are computed again.
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


def remat_policy(remat: bool | str) -> str:
    """Checks the name of a policy.

    Args:
        remat: "none" keeps all activations; "full" keeps none but the blocks' inputs; "dots" keeps
            the outputs of linear layers. False and True are "none" and "full".

    Returns:
        "none", "full" or "dots".

    Raises:
        ConfigError: No such policy.
    """
    if isinstance(remat, bool):
        return "full" if remat else "none"
    if remat not in ("none", *_REMAT_POLICIES):
        names = ", ".join(map(repr, ("none", *_REMAT_POLICIES)))
        raise ConfigError(f"config.model.remat={remat!r} is not one of {names}")
    return remat


class Blocks(nn.Module):
    """A stack of blocks, whose drop path grows linearly from 0 to the last block's rate.

    Scanned or not, and whatever is kept, the results are the same up to rounding, drop path
    included; only the parameters' first values differ, and their layout: see `stacking`.

    Attributes:
        depth: Number of blocks.
        heads: Number of heads.
        mlp_ratio: Hidden width of the MLP over token width.
        drop_path: Drop-path rate of the last block, below 1.
        dtype: Compute dtype.
        attention: See `layers.dot_product_attention`.
        remat: What is computed again in the backward pass instead of kept; see `remat_policy`.
            "full" is the least memory, for about a third more time.
        scan: Whether the blocks are one block in a loop: the program compiles in the time of one.
        divided_grid: Token grid (t, h, w) of divided attention; None for joint attention.
    """

    depth: int
    heads: int
    mlp_ratio: float = 4.0
    drop_path: float = 0.0
    dtype: DTypeLike = jnp.float32
    attention: str = "xla"
    remat: str = "none"
    scan: bool = False
    divided_grid: tuple[int, int, int] | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        train: bool = False,
        visible_ids: Int[Array, "b n"] | None = None,
    ) -> Float[Array, "b n d"]:
        """Applies the blocks in turn.

        Args:
            x: Tokens.
            train: Whether paths are dropped; they need the random stream "dropout".
            visible_ids: Their flat positions, for divided attention; None for all in order.

        Returns:
            The tokens, without a final LayerNorm.
        """
        drop_paths = None
        if train and self.drop_path:
            drop_paths = layers.DropPath(
                jnp.linspace(0.0, self.drop_path, self.depth),
                jax.random.split(self.make_rng("dropout"), self.depth),
            )
        make_block, context = self._make_block(), ()
        if self.divided_grid is not None:
            context = (visible_ids,)
        if self.scan:
            scanned = nn.scan(
                lambda block, x, drop_path, context: (
                    block(nn.with_logical_constraint(x, _TOKEN_AXES), drop_path, *context),
                    None,
                ),
                variable_axes={"params": 0, "intermediates": 0},
                split_rngs={"params": True},
                in_axes=(0, nn.broadcast),
                length=self.depth,
            )
            return scanned(make_block(name=STACKED), x, drop_paths, context)[0]
        for i in range(self.depth):
            drop_path = jax.tree.map(lambda leaf, i=i: leaf[i], drop_paths)
            x = make_block(name=str(i))(x, drop_path, *context)
        return x

    def _make_block(self) -> Callable[..., Any]:
        block_class = layers.Block if self.divided_grid is None else timesformer.DividedBlock
        policy = remat_policy(self.remat)
        if policy != "none":
            # A loop keeps the compiler from finding the two computations to be one.
            block_class = nn.remat(
                block_class, policy=_REMAT_POLICIES[policy], prevent_cse=not self.scan
            )
        options = (self.heads, self.mlp_ratio, self.dtype, self.attention)
        if self.divided_grid is not None:
            options += (self.divided_grid,)
        return functools.partial(block_class, *options)
