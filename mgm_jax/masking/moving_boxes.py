"""Boxes that move through the token grid, and the tokens they mask.

All arithmetic is in integers, so masks are bit-identical with and without jit, on any device and
under any sharding. `grid` is the token grid (t, h, w); a clip has one box per tubelet, i.e. per
temporal position of the grid. Places and sizes are (vertical, horizontal), in fractions of a token
(see `units_per_token`). What is drawn is made of random 32-bit numbers, one for each draw.
"""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Integer, Key, UInt32

# Distances are quantised to 1/2048 of a box's half side; a random number below 1024 breaks ties.
_DISTANCE_LEVELS = 2048
_TIE_LEVELS = 1024


def random_bits(key: Key[Array, ""], *shapes: tuple[int, ...]) -> list[UInt32[Array, "..."]]:
    """Draws one array of random 32-bit numbers per shape.

    All come from one flat draw, which XLA compiles several times faster than separate draws.
    """
    ends = list(itertools.accumulate(math.prod(shape) for shape in shapes))
    bits = jnp.split(jax.random.bits(key, (ends[-1],)), ends[:-1])
    return [part.reshape(shape) for part, shape in zip(bits, shapes, strict=True)]


class Boxes(NamedTuple):
    """One box per tubelet, inside the frame."""

    top_left: Int[Array, "t 2"]
    size: Int[Array, "t 2"]


def units_per_token(grid: tuple[int, int, int]) -> int:
    """The number of integer units in the side of a token, e.g. 512 for the grid (8, 14, 14).

    It is the largest power of two for which no computation here overflows int32.

    Raises:
        ValueError: The grid is so large that fewer than 16 units would remain.
    """
    tubelets, height, width = grid
    side = max(height, width)
    limit = (2**31 - 1) // (max(tubelets, side) * side**2)
    if limit < 16**2:
        raise ValueError(
            f"token grid {grid} is too large for box masks, which are computed in int32; "
            "use larger patches or smaller clips"
        )
    return 1 << ((limit.bit_length() - 1) // 2)


def jittered_sizes(
    bits: UInt32[Array, "changes axes"],
    grid: tuple[int, int, int],
    ratio: float,
    jitter: float,
) -> Int[Array, "t 2"]:
    """Box sizes of one clip before they are scaled to the exact count (Eq. 5 and 7).

    The first box is a square of side sqrt(ratio · h · w). Height and width change together if there
    is one draw for each of the t - 1 changes (Eq. 5), and on their own if there are two (Eq. 7).

    Decision: changes from tubelet to tubelet are uniform in ± `jitter` tokens, minus their mean.
    They sum to zero, so the last box has the size of the first. Sizes may exceed the grid.
    """
    tubelets, height, width = grid
    unit = units_per_token(grid)
    limit = round(jitter * unit)
    path = jnp.cumsum(_uniform(-limit, limit, bits), axis=0)
    elapsed = jnp.arange(1, tubelets)[:, None]
    path -= elapsed * path[-1:] // max(tubelets - 1, 1)
    path = jnp.broadcast_to(jnp.pad(path, ((1, 0), (0, 0))), (tubelets, 2))
    return round(math.sqrt(ratio * height * width) * unit) + path


def fit_sizes(
    size: Int[Array, "t 2"], grid: tuple[int, int, int], num_masked: int
) -> Int[Array, "t 2"]:
    """Scales all boxes of a clip by one factor so that their areas sum to the exact count.

    Decision: every side is clipped to between one token and the frame, and the factor makes up for
    the clipping. On a grid that is not square, boxes become as flat as needed. The factor is found
    by bisection; it gives the largest total area that does not exceed `num_masked` tokens.
    """
    unit = units_per_token(grid)
    extent = _extent(grid)
    side = max(grid[1:])
    size = jnp.clip(size, unit, extent)
    reference = size[0].max()

    def scaled(target: Int[Array, ""]) -> Int[Array, "t 2"]:
        # Even sizes, so that a box can be centred exactly.
        return jnp.clip(size * target // reference // 2 * 2, unit, extent)

    def halve(
        _: Int[Array, ""], bounds: tuple[Int[Array, ""], Int[Array, ""]]
    ) -> tuple[Int[Array, ""], Int[Array, ""]]:
        low, high = bounds
        middle = (low + high) // 2
        fits = scaled(middle).prod(axis=1).sum() <= num_masked * unit**2
        return jnp.where(fits, middle, low), jnp.where(fits, high, middle)

    most = side**2 * unit
    bounds = (jnp.int32(1), jnp.int32(most))
    low, _ = jax.lax.fori_loop(0, most.bit_length(), halve, bounds)
    return scaled(low)


def random_start(
    bits: UInt32[Array, "2"], size: Int[Array, "2"], grid: tuple[int, int, int]
) -> Int[Array, "2"]:
    """Top-left corner of a box, uniform over all positions inside the frame."""
    return _uniform(0, _extent(grid) - size, bits)


def centred_boxes(
    twice_centre: Int[Array, "t 2"], size: Int[Array, "t 2"], grid: tuple[int, int, int]
) -> Boxes:
    """Boxes around given centres, shifted to lie inside the frame.

    Decision: the shift, because a box that leaves the frame would mask fewer tokens.
    """
    top_left = (twice_centre - size) // 2
    return Boxes(jnp.clip(top_left, 0, _extent(grid) - size), size)


def walking_boxes(
    bits: UInt32[Array, "moves 2"],
    start: Int[Array, "2"],
    size: Int[Array, "t 2"],
    grid: tuple[int, int, int],
    velocity: float,
) -> Boxes:
    """Boxes whose top-left corner follows a random walk from `start` (Eq. 5).

    Decision: each move is uniform in ± `velocity` tokens per axis, and the walk is reflected at the
    frame's border.
    """
    limit = round(velocity * units_per_token(grid))
    moves = _uniform(-limit, limit, bits)
    room = _extent(grid) - size

    def move(
        corner: Int[Array, "2"], inputs: tuple[Int[Array, "2"], Int[Array, "2"]]
    ) -> tuple[Int[Array, "2"], Int[Array, "2"]]:
        corner = _reflect(corner + inputs[0], inputs[1])
        return corner, corner

    _, corners = jax.lax.scan(move, start, (moves, room[1:]))
    return Boxes(jnp.concatenate([start[None], corners]), size)


def mask_boxes(
    key: Key[Array, ""], boxes: Boxes, grid: tuple[int, int, int], num_masked: int
) -> Bool[Array, "t h w"]:
    """Masks the tokens nearest to their tubelet's box, exactly `num_masked` per clip.

    The tokens of all tubelets are ranked together by the Chebyshev distance to the centre of their
    tubelet's box, measured in half sides of that box. Tokens up to any given distance form a solid
    rectangle in each tubelet.

    Decision (ties): every side of every box gets a random number, which orders whole rows and
    columns at equal distance, so no tubelet and no side is favoured. Tokens of the same row or
    column remain tied; they are taken in time-major order, forwards or backwards at random. At
    most one tubelet of a clip therefore has an incomplete row or column, and all others are solid
    rectangles, for any jitter and grid.
    """
    unit = units_per_token(grid)
    tie_bits, direction_bits = random_bits(key, (grid[0], 2, 2), ())
    ties, backwards = _uniform(0, _TIE_LEVELS - 1, tie_bits), direction_bits % 2 == 1
    twice_centre = 2 * boxes.top_left + boxes.size

    def along(axis: int) -> Int[Array, "t tokens"]:
        token_centres = (2 * jnp.arange(grid[1 + axis]) + 1) * unit
        offset = token_centres - twice_centre[:, axis, None]
        distance = jnp.abs(offset) * _DISTANCE_LEVELS // boxes.size[:, axis, None]
        before, after = ties[:, axis, :1], ties[:, axis, 1:]
        return distance * _TIE_LEVELS + jnp.where(offset < 0, before, after)

    ranks = jnp.maximum(along(0)[:, :, None], along(1)[:, None, :]).reshape(-1)
    mask = mark_lowest(jnp.where(backwards, ranks[::-1], ranks), num_masked)
    return jnp.where(backwards, mask[::-1], mask).reshape(grid)


def mark_lowest(scores: Integer[Array, "n"], count: int) -> Bool[Array, "n"]:
    """Marks exactly `count` (at least one) of the lowest scores; among equal ones, the first."""
    threshold = jnp.sort(scores)[count - 1]
    below, tied = scores < threshold, scores == threshold
    return below | (tied & (jnp.cumsum(tied) <= count - below.sum()))


def _uniform(
    low: int, high: int | Int[Array, "2"], bits: UInt32[Array, "*shape"]
) -> Int[Array, "*shape"]:
    """Integers in [low, high], uniform up to a bias of (high - low + 1) / 2^32."""
    span = jnp.asarray(high - low + 1, jnp.uint32)
    return (bits % span).astype(jnp.int32) + low


def _extent(grid: tuple[int, int, int]) -> Int[Array, "2"]:
    """Size of the frame."""
    return jnp.array(grid[1:], jnp.int32) * units_per_token(grid)


def _reflect(position: Int[Array, "2"], room: Int[Array, "2"]) -> Int[Array, "2"]:
    """Folds a position into [0, room], as mirrors at both ends would."""
    position = position % jnp.maximum(2 * room, 1)
    return jnp.minimum(position, 2 * room - position)
