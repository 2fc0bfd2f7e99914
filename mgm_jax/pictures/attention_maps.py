"""Attention weights of one token of a clip (Figures 5 and 6)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from mgm_jax.errors import ConfigError
from mgm_jax.models import attention


def parse_query(parts: Sequence[str], grid: tuple[int, int, int]) -> tuple[int, int, int]:
    """Tubelet, row and column of a token of the grid (t, h, w), as `--attention` names it.

    `centre` stands for the paper's choice, the centre patch of the centre frame.

    Raises:
        ConfigError: It is neither `centre` nor three numbers, or the token is outside the grid.
    """
    if list(parts) == ["centre"]:
        parts = [str(length // 2) for length in grid]
    if len(parts) != 3 or not all(part.strip().isdecimal() for part in parts):
        raise ConfigError(
            f"--attention={','.join(parts)}: give TUBELET,ROW,COLUMN, such as 3,4,4, or 'centre'"
        )
    tubelet, row, column = map(int, parts)
    if tubelet >= grid[0] or row >= grid[1] or column >= grid[2]:
        raise ConfigError(
            f"--attention={tubelet},{row},{column}: the clip has {grid[0]} tubelets of {grid[1]} "
            f"rows and {grid[2]} columns of tokens, counted from 0"
        )
    return tubelet, row, column


def make_attention_fn(
    model: nn.Module, query: tuple[int, int, int], block: int = -1
) -> Callable[[Any, Float[Array, "b T H W 3"]], Float32[Array, "b t h w"]]:
    """Builds the function that computes the attention weights of one token over its clip.

    All tokens are visible; the weights are averaged over the heads. *Decision*: for divided
    attention, of which the paper shows no map, a token's weight is the product of the query's
    attention to its location, over space, and of that location's attention to it, over time.

    Args:
        model: An autoencoder, a classifier or a linear probe.
        query: Tubelet, row and column of the token that attends.
        block: Index of the block; negative numbers count from the last.

    Returns:
        `(params, normalised clips) -> weights`, which sum to 1 over each clip.

    Raises:
        ConfigError: The encoder has no such block.
    """
    grid, query_id = model.grid, int(np.ravel_multi_index(query, model.grid))
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
        parts = sown["intermediates"]["encoder"]["blocks"][str(block % depth)]
        if "temporal_attention" in parts:
            return _divided(parts, grid, query)
        queries, keys = (_sown(parts["attention"], name) for name in ("query", "key"))
        weights = _head_average(queries[:, query_id, None], keys)
        return weights.reshape(-1, *grid)

    return attention_fn


def _sown(part: Mapping[str, Any], name: str) -> Float[Array, "b n heads head_dim"]:
    (value,) = part[name]
    return value


def _head_average(
    query: Float[Array, "b 1 heads head_dim"], key: Float[Array, "b m heads head_dim"]
) -> Float32[Array, "b m"]:
    return attention.attention_weights(query, key)[:, :, 0].mean(axis=1)


def _divided(
    parts: Mapping[str, Any], grid: tuple[int, int, int], query: tuple[int, int, int]
) -> Float32[Array, "b t h w"]:
    t, h, w = grid
    tubelet, place = query[0], query[1] * w + query[2]
    queries, keys = (_sown(parts["attention"], name) for name in ("query", "key"))
    # Attention over space is batched by clip and tubelet, attention over time by clip and place.
    over_space = _head_average(queries[tubelet::t, place, None], keys[tubelet::t])
    queries, keys = (_sown(parts["temporal_attention"], name) for name in ("query", "key"))
    over_time = _head_average(queries[:, tubelet, None], keys).reshape(-1, h * w, t)
    weights = jnp.swapaxes(over_space[:, :, None] * over_time, 1, 2)
    return weights.reshape(-1, *grid)
