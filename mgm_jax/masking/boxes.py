"""Boxes that move through the token grid, and the tokens they mask.

Everything here is counted in whole numbers, in fractions of a token cell, so a mask is the same
bit for bit with and without jit, on any device and under any sharding. Axes are (vertical,
horizontal), as in the grid's (h, w).
"""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Integer, Key, UInt32

# Distances are told apart to 1/2048 of a box's half side; nearer than that, a random number
# below 1024 decides.
_DISTANCE_STEPS = 2048
_TIE_STEPS = 1024


def random_bits(key: Key[Array, ""], *shapes: tuple[int, ...]) -> list[UInt32[Array, "..."]]:
    """Random numbers of 32 bits, for several uses at once.

    One flat draw, because XLA compiles it several times faster than one draw per use and shape.

    Args:
        key: Random key.
        *shapes: Shapes of the results.

    Returns:
        One array per shape.
    """
    ends = list(itertools.accumulate(math.prod(shape) for shape in shapes))
    bits = jnp.split(jax.random.bits(key, (ends[-1],)), ends[:-1])
    return [part.reshape(shape) for part, shape in zip(bits, shapes, strict=True)]


class Boxes(NamedTuple):
    """One box per step of a clip, wholly inside the frame.

    Attributes:
        top_left: (top, left) corner, in `units_per_cell`.
        size: (height, width), in `units_per_cell`.
    """

    top_left: Int[Array, "t 2"]
    size: Int[Array, "t 2"]


def units_per_cell(grid: tuple[int, int, int]) -> int:
    """How finely a token cell is divided: the largest power of two that cannot overflow int32.

    Args:
        grid: Token grid (t, h, w).

    Returns:
        Units per cell, 512 for 8x14x14.

    Raises:
        ValueError: The grid is so large that less than 16 units would remain.
    """
    steps, height, width = grid
    side = max(height, width)
    limit = (2**31 - 1) // (max(steps, side) * side**2)
    if limit < 16**2:
        raise ValueError(
            f"token grid {grid} is too large for box masks, which are computed in int32; "
            "use larger patches or smaller clips"
        )
    return 1 << ((limit.bit_length() - 1) // 2)


def jittered_sizes(
    bits: UInt32[Array, "changes axes"],
    grid: tuple[int, int, int],
    mask_ratio: float,
    jitter: float,
) -> Int[Array, "t 2"]:
    """Box sizes of one clip, before they are fitted to the exact count (Eq. 5 and 7).

    The first box is a square of side sqrt(mask_ratio · h · w).

    Decision: the changes from step to step are uniform in ± jitter cells, less their mean, so they
    sum to zero and the last box has the size of the first.

    Args:
        bits: Random bits [t - 1, 1] if height and width change alike (Eq. 5), [t - 1, 2] if each
            on its own (Eq. 7).
        grid: Token grid (t, h, w).
        mask_ratio: Share of masked tokens.
        jitter: Largest change of a side per step before the mean is removed, in cells.

    Returns:
        (height, width) per step, in `units_per_cell`; may lie outside the grid.
    """
    steps, height, width = grid
    unit = units_per_cell(grid)
    limit = round(jitter * unit)
    path = jnp.cumsum(_between(-limit, limit, bits), axis=0)
    elapsed = jnp.arange(1, steps)[:, None]
    path -= elapsed * path[-1:] // max(steps - 1, 1)
    path = jnp.broadcast_to(jnp.pad(path, ((1, 0), (0, 0))), (steps, 2))
    return round(math.sqrt(mask_ratio * height * width) * unit) + path


def fit_sizes(
    size: Int[Array, "t 2"], grid: tuple[int, int, int], num_masked: int
) -> Int[Array, "t 2"]:
    """Scales all boxes of a clip by one factor, so that their areas sum to the exact count.

    Decision: every side stays between one cell and the frame, also where the factor would take it
    out; the factor makes up for that. On a grid that is not square this turns the square boxes
    into ones as flat as they have to be. The factor is found by bisection.

    Args:
        size: (height, width) per step, in `units_per_cell`.
        grid: Token grid (t, h, w).
        num_masked: Tokens to mask in the clip.

    Returns:
        The scaled sizes. Their area is the largest that does not exceed `num_masked` cells.
    """
    unit = units_per_cell(grid)
    extent = _extent(grid)
    side = max(grid[1:])
    size = jnp.clip(size, unit, extent)
    reference = size[0].max()

    def scaled(target: Int[Array, ""]) -> Int[Array, "t 2"]:
        # Even, so that a box has its centre where it should be, to the unit.
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
    """Top-left corner of a box, uniform over the places where it lies inside the frame.

    Args:
        bits: Random bits.
        size: (height, width) of the box, in `units_per_cell`.
        grid: Token grid (t, h, w).

    Returns:
        (top, left), in `units_per_cell`.
    """
    return _between(0, _extent(grid) - size, bits)


def centred_boxes(
    twice_centre: Int[Array, "t 2"], size: Int[Array, "t 2"], grid: tuple[int, int, int]
) -> Boxes:
    """Boxes around given centres, shifted to lie inside the frame.

    Decision: the shift. A box that left the frame would mask fewer tokens there.

    Args:
        twice_centre: Twice the (vertical, horizontal) centre, in `units_per_cell`.
        size: (height, width) per step, in `units_per_cell`.
        grid: Token grid (t, h, w).

    Returns:
        The boxes.
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
    """Boxes whose top-left corner walks at random (Eq. 5).

    Decision: the velocity of each step and axis is uniform in ± `velocity`, and the walk is
    reflected where the box would leave the frame.

    Args:
        bits: Random bits [t - 1, 2].
        start: (top, left) of the first box, in `units_per_cell`.
        size: (height, width) per step, in `units_per_cell`.
        grid: Token grid (t, h, w).
        velocity: Largest move per step and axis, in cells.

    Returns:
        The boxes.
    """
    limit = round(velocity * units_per_cell(grid))
    moves = _between(-limit, limit, bits)
    room = _extent(grid) - size

    def move(
        corner: Int[Array, "2"], step: tuple[Int[Array, "2"], Int[Array, "2"]]
    ) -> tuple[Int[Array, "2"], Int[Array, "2"]]:
        corner = _reflect(corner + step[0], step[1])
        return corner, corner

    _, corners = jax.lax.scan(move, start, (moves, room[1:]))
    return Boxes(jnp.concatenate([start[None], corners]), size)


def mask_boxes(
    key: Key[Array, ""], boxes: Boxes, grid: tuple[int, int, int], num_masked: int
) -> Bool[Array, "t h w"]:
    """Masks the tokens nearest to their step's box, up to the exact count for the clip.

    Tokens of all steps are ranked together, by Chebyshev distance to the centre of their step's
    box, in half sides of that box. All tokens up to a distance are a solid rectangle in each step.

    Decision: ties. One random number belongs to each side of each step's box, and orders whole rows
    and columns of equal distance, so no step and no side is favoured. Tokens of one row or column
    stay equal; they are taken in time-major order, forwards or backwards at random. This leaves at
    most one step of the clip with a row or column begun and not finished. All others are solid
    rectangles, at any jitter and on any grid.

    Args:
        key: Random key, for ties.
        boxes: One box per step.
        grid: Token grid (t, h, w).
        num_masked: Tokens to mask in the clip.

    Returns:
        The mask, True where masked.
    """
    unit = units_per_cell(grid)
    tie_bits, direction_bits = random_bits(key, (grid[0], 2, 2), ())
    ties, backwards = _between(0, _TIE_STEPS - 1, tie_bits), direction_bits % 2 == 1
    twice_centre = 2 * boxes.top_left + boxes.size

    def along(axis: int) -> Int[Array, "t cells"]:
        cell_centres = (2 * jnp.arange(grid[1 + axis]) + 1) * unit
        offset = cell_centres - twice_centre[:, axis, None]
        distance = jnp.abs(offset) * _DISTANCE_STEPS // boxes.size[:, axis, None]
        before, after = ties[:, axis, :1], ties[:, axis, 1:]
        return distance * _TIE_STEPS + jnp.where(offset < 0, before, after)

    ranks = jnp.maximum(along(0)[:, :, None], along(1)[:, None, :]).reshape(-1)
    mask = mark_lowest(jnp.where(backwards, ranks[::-1], ranks), num_masked)
    return jnp.where(backwards, mask[::-1], mask).reshape(grid)


def mark_lowest(scores: Integer[Array, "n"], count: int) -> Bool[Array, "n"]:
    """Marks exactly `count` of the lowest scores; of equal ones, the first.

    Args:
        scores: Any integers.
        count: How many to mark, at least one.

    Returns:
        True where marked.
    """
    threshold = jnp.sort(scores)[count - 1]
    below, tied = scores < threshold, scores == threshold
    return below | (tied & (jnp.cumsum(tied) <= count - below.sum()))


def _between(
    low: int, high: int | Int[Array, "2"], bits: UInt32[Array, "*shape"]
) -> Int[Array, "*shape"]:
    """Integers from low to high, both included, uniform but for a bias of their range / 2^32."""
    span = jnp.asarray(high - low + 1, jnp.uint32)
    return (bits % span).astype(jnp.int32) + low


def _extent(grid: tuple[int, int, int]) -> Int[Array, "2"]:
    """(height, width) of the frame, in `units_per_cell`."""
    return jnp.array(grid[1:], jnp.int32) * units_per_cell(grid)


def _reflect(position: Int[Array, "2"], room: Int[Array, "2"]) -> Int[Array, "2"]:
    """Folds a position into [0, room], as a mirror at both ends would."""
    position = position % jnp.maximum(2 * room, 1)
    return jnp.minimum(position, 2 * room - position)
