"""Where an encoder looks from one token: attention maps (Figures 5 and 6)."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from mgm_jax.errors import ConfigError
from mgm_jax.models import attention
from mgm_jax.models.blocks import STACKED


def token_id(query: tuple[int, int, int] | None, grid: tuple[int, int, int]) -> int:
    """Flat position of a token.

    Args:
        query: Its step, row and column; None for the paper's choice, the centre patch of the
            centre frame.
        grid: Token grid (t, h, w).

    Returns:
        The position.

    Raises:
        ConfigError: The token is outside the grid.
    """
    t, row, column = query or tuple(cells // 2 for cells in grid)
    if not (0 <= t < grid[0] and 0 <= row < grid[1] and 0 <= column < grid[2]):
        raise ConfigError(
            f"--query={t},{row},{column}: the clip has {grid[0]} steps of {grid[1]} rows and "
            f"{grid[2]} columns of tokens, counted from 0"
        )
    return (t * grid[1] + row) * grid[2] + column


def make_attention_fn(
    model: nn.Module, query_id: int, block: int = -1
) -> Callable[[Any, Float[Array, "b T H W 3"]], Float32[Array, "b t h w"]]:
    """Builds the function that maps an encoder's attention from one token to all of a clip.

    All tokens are visible. The weights are the average over the heads. *Decision*, for divided
    attention, of which the paper shows no map: the query attends over space to the tokens of its
    step, whose content came by attention over time, so a token's weight is the product of the two.

    Args:
        model: An autoencoder, a classifier or a linear probe.
        query_id: Flat position of the token that attends.
        block: Number of the block; negative ones count from the last.

    Returns:
        `(params, clips, normalised as the recipe says) -> weights`, which sum to 1 over each clip.

    Raises:
        ConfigError: The encoder has no such block.
    """
    depth = model.encoder_config.depth
    if not -depth <= block < depth:
        raise ConfigError(
            f"--block={block}: the encoder has {depth} blocks; choose from {-depth} to {depth - 1}"
        )

    def attention_fn(params: Any, clips: Float[Array, "b T H W 3"]) -> Float32[Array, "b t h w"]:
        _, sown = model.apply(
            {"params": params},
            clips,
            method=lambda model, clips: model.encoder(clips),
            mutable=["intermediates"],
        )
        parts = _of_block(sown["intermediates"]["encoder"]["blocks"], block % depth)
        if "temporal_attention" in parts:
            return _divided(parts, model.grid, query_id)
        query, key = (_sown(parts["attention"], name) for name in ("query", "key"))
        weights = _head_average(query[:, query_id, None], key)
        return weights.reshape(-1, *model.grid)

    return attention_fn


def _of_block(sown: Mapping[str, Any], block: int) -> Mapping[str, Any]:
    if STACKED in sown:
        return jax.tree.map(lambda leaf: leaf[block], sown[STACKED])
    return sown[str(block)]


def _sown(part: Mapping[str, Any], name: str) -> Float[Array, "b n heads head_dim"]:
    (value,) = part[name]
    return value


def _head_average(
    query: Float[Array, "b 1 heads head_dim"], key: Float[Array, "b m heads head_dim"]
) -> Float32[Array, "b m"]:
    return attention.attention_weights(query, key)[:, :, 0].mean(axis=1)


def _divided(
    parts: Mapping[str, Any], grid: tuple[int, int, int], query_id: int
) -> Float32[Array, "b t h w"]:
    t, h, w = grid
    step, place = divmod(query_id, h * w)
    query, key = (_sown(parts["attention"], name) for name in ("query", "key"))
    # Groups are the steps of each clip here, and the locations of each clip below.
    over_space = _head_average(query[step::t, place, None], key[step::t])
    query, key = (_sown(parts["temporal_attention"], name) for name in ("query", "key"))
    over_time = _head_average(query[:, step, None], key).reshape(-1, h * w, t)
    weights = jnp.swapaxes(over_space[:, :, None] * over_time, 1, 2)
    return weights.reshape(-1, *grid)
