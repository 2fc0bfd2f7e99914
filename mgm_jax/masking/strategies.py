"""Masks: which tokens of a clip are hidden from the encoder (Eq. 5 to 7, Table 4e, Figure 4).

True means masked. Every strategy masks exactly `num_masked` tokens of every clip, so shapes are
static. No strategy computes in floating point, so a clip's mask depends on its key and its motion
magnitude alone: not on jit, the batch around it, the device or the sharding.

The strategies are listed in `STRATEGIES`. Each is a pure function of one clip, and `make_mask_fn`
maps it over the batch. They share their arguments: the clip's random key; the motion magnitude
[t, mh, mw] in pixels, where (mh, mw) is an integer multiple of the token grid's (h, w); and the
settings. They return the mask [t, h, w].
"""

import dataclasses
import difflib
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from mgm_jax.errors import ConfigError
from mgm_jax.masking import motion_maps
from mgm_jax.masking.boxes import (
    Boxes,
    centred_boxes,
    fit_sizes,
    jittered_sizes,
    mark_lowest,
    mask_boxes,
    random_bits,
    random_start,
    units_per_cell,
    walking_boxes,
)

GUIDANCES = ("peak", "window")


@dataclasses.dataclass(frozen=True)
class MaskSettings:
    """What a strategy needs to know besides the key and the motion; checked by `make_mask_fn`.

    Attributes:
        grid: Token grid (t, h, w).
        mask_ratio: Share of masked tokens.
        jitter: `mgm`, `smm`: largest change of a box side per step, in cells.
        velocity: `smm`, `smm_sparse`: largest move of the box per step and axis, in cells.
        guidance: `mgm`: "peak" or "window".
        guide_first_tubelet: `mgm`: whether motion also places the first box.
    """

    grid: tuple[int, int, int]
    mask_ratio: float
    jitter: float = 0.5
    velocity: float = 1.0
    guidance: str = "peak"
    guide_first_tubelet: bool = False

    @property
    def masked_per_step(self) -> int:
        """Tokens masked in each step on average; in every step, for sparse masks."""
        return num_masked(self.grid, self.mask_ratio) // self.grid[0]


def num_masked(grid: tuple[int, int, int], mask_ratio: float) -> int:
    """Tokens masked in every clip.

    Decision: t · round(mask_ratio · h · w), for every strategy. 1176 of 1568 at 0.75, and 1408 at
    0.9, as VideoMAE.

    Args:
        grid: Token grid (t, h, w).
        mask_ratio: Share of masked tokens, above 0 and below 1.

    Returns:
        The count.

    Raises:
        ConfigError: The ratio is not between 0 and 1, or masks no or all tokens of a step.
    """
    steps, height, width = grid
    if not 0 < mask_ratio < 1:
        raise ConfigError(f"mask_ratio {mask_ratio} is not between 0 and 1; the paper's is 0.75")
    per_step = round(mask_ratio * height * width)
    if not 0 < per_step < height * width:
        raise ConfigError(
            f"mask_ratio {mask_ratio} masks {per_step} of the {height * width} tokens of a step of "
            f"grid {grid}; choose one that masks some and leaves some"
        )
    return steps * per_step


def mgm(
    key: Key[Array, ""], magnitude: Float[Array, "t mh mw"], settings: MaskSettings
) -> Bool[Array, "t h w"]:
    """Motion-guided masking, the method: a solid box that follows the motion (Eq. 6 and 7)."""
    return _mask_boxes(key, mgm_boxes(key, magnitude, settings), settings)


def mgm_boxes(
    key: Key[Array, ""], magnitude: Float[Array, "t mh mw"], settings: MaskSettings
) -> Boxes:
    """The boxes of `mgm`.

    The first box is placed at random, each later one centred on its step's motion.

    Decisions: the centre is that of the winning motion cell. A step without motion keeps the centre
    of the step before. `guidance="window"` instead puts the box where it covers the most motion,
    and `guide_first_tubelet` lets motion place the first box too; both are beyond the paper.

    Args:
        key: The clip's random key; with it, these are the boxes of the clip's mask.
        magnitude: Motion magnitude in pixels, on the token grid or an integer multiple of it.
        settings: Uses `jitter`, `guidance` and `guide_first_tubelet`.

    Returns:
        The boxes, before they are rounded to whole tokens.
    """
    grid, unit = settings.grid, units_per_cell(settings.grid)
    box_key, _ = jax.random.split(key)
    size_bits, start_bits, priority = random_bits(
        box_key, (grid[0] - 1, 2), (2,), magnitude.shape[1:]
    )
    size = jittered_sizes(size_bits, grid, settings.mask_ratio, settings.jitter)
    size = fit_sizes(size, grid, num_masked(grid, settings.mask_ratio))

    cells_per_token = jnp.array(_cells_per_token(magnitude, settings))
    if settings.guidance == "window":
        window = (2 * size * cells_per_token + unit) // (2 * unit)
        twice_centre = 2 * motion_maps.busiest_windows(magnitude, priority, window) + window
    else:
        twice_centre = 2 * motion_maps.peak_cells(magnitude, priority) + 1
    twice_centre = twice_centre * unit // cells_per_token

    start = 2 * random_start(start_bits, size[0], grid) + size[0]
    moving = magnitude.max(axis=(1, 2)) > 0
    place_first = moving[0] & settings.guide_first_tubelet
    twice_centre = twice_centre.at[0].set(jnp.where(place_first, twice_centre[0], start))
    latest = jax.lax.cummax(jnp.where(moving, jnp.arange(grid[0]), 0))
    return centred_boxes(twice_centre[latest], size, grid)


def mgm_sparse(
    key: Key[Array, ""], magnitude: Float[Array, "t mh mw"], settings: MaskSettings
) -> Bool[Array, "t h w"]:
    """In each step the tokens with the most motion, wherever they are.

    Decisions: Pool_topK of Eq. 7 with K = round(mask_ratio · h · w); a token has the largest
    magnitude of its motion cells; ties are random, so a step without motion is masked at random.
    """
    steps, height, width = settings.grid
    down, across = _cells_per_token(magnitude, settings)
    strength = magnitude.reshape(steps, height, down, width, across).max(axis=(2, 4))
    strength = strength.reshape(steps, -1)
    weakest = jnp.sort(strength, axis=-1)[:, -settings.masked_per_step, None]
    # Stronger tokens come first, then the equally strong in random order, then the others.
    scores = jnp.where(strength > weakest, 0, 3)
    scores = jnp.where(strength == weakest, 1, scores).astype(jnp.uint32) << 30
    scores += random_bits(key, strength.shape)[0] >> 2
    masked = jax.vmap(mark_lowest, in_axes=(0, None))(scores, settings.masked_per_step)
    return masked.reshape(settings.grid)


def smm(
    key: Key[Array, ""], magnitude: Float[Array, "t mh mw"], settings: MaskSettings
) -> Bool[Array, "t h w"]:
    """Simulated-motion masking: a solid box on a random walk (Eq. 5)."""
    del magnitude
    return _mask_boxes(key, smm_boxes(key, settings), settings)


def smm_boxes(key: Key[Array, ""], settings: MaskSettings) -> Boxes:
    """The boxes of `smm`. Height and width change alike, as Eq. 5 has it.

    Args:
        key: The clip's random key; with it, these are the boxes of the clip's mask.
        settings: Uses `jitter` and `velocity`.

    Returns:
        The boxes, before they are rounded to whole tokens.
    """
    grid, changes = settings.grid, settings.grid[0] - 1
    box_key, _ = jax.random.split(key)
    size_bits, start_bits, walk_bits = random_bits(box_key, (changes, 1), (2,), (changes, 2))
    size = jittered_sizes(size_bits, grid, settings.mask_ratio, settings.jitter)
    size = fit_sizes(size, grid, num_masked(grid, settings.mask_ratio))
    start = random_start(start_bits, size[0], grid)
    return walking_boxes(walk_bits, start, size, grid, settings.velocity)


def smm_sparse(
    key: Key[Array, ""], magnitude: Float[Array, "t mh mw"], settings: MaskSettings
) -> Bool[Array, "t h w"]:
    """A random pattern that moves with the random walk of `smm`.

    Decision: the pattern moves by whole tokens, as the `smm` box of the same key does, and wraps
    around at the border, which keeps its count.
    """
    del magnitude
    _, height, width = settings.grid
    unit = units_per_cell(settings.grid)
    corner = smm_boxes(key, settings).top_left
    shift = (2 * (corner - corner[0]) + unit) // (2 * unit)
    _, pattern_key = jax.random.split(key)
    pattern = _random_cells(pattern_key, (height, width), settings.masked_per_step)
    rows = (jnp.arange(height) - shift[:, :1]) % height
    columns = (jnp.arange(width) - shift[:, 1:]) % width
    return pattern[rows[:, :, None], columns[:, None, :]]


def random_block(
    key: Key[Array, ""], magnitude: Float[Array, "t mh mw"], settings: MaskSettings
) -> Bool[Array, "t h w"]:
    """One solid box at a random place, the same in every step.

    Made for one step and repeated, so all steps share the row or column that is not finished.
    """
    del magnitude
    still = dataclasses.replace(settings, grid=(1, *settings.grid[1:]), jitter=0.0)
    block = _mask_boxes(key, smm_boxes(key, still), still)
    return jnp.broadcast_to(block, settings.grid)


def random_tube(
    key: Key[Array, ""], magnitude: Float[Array, "t mh mw"], settings: MaskSettings
) -> Bool[Array, "t h w"]:
    """Random tokens, the same in every step (VideoMAE)."""
    del magnitude
    pattern = _random_cells(key, settings.grid[1:], settings.masked_per_step)
    return jnp.broadcast_to(pattern, settings.grid)


def random(
    key: Key[Array, ""], magnitude: Float[Array, "t mh mw"], settings: MaskSettings
) -> Bool[Array, "t h w"]:
    """Random tokens of the whole clip, independent of each other (ST-MAE).

    The count is exact for the clip, not for each step.
    """
    del magnitude
    return _random_cells(key, settings.grid, num_masked(settings.grid, settings.mask_ratio))


STRATEGIES: dict[str, Callable[[Array, Array, MaskSettings], Array]] = {
    "mgm": mgm,
    "mgm_sparse": mgm_sparse,
    "smm": smm,
    "smm_sparse": smm_sparse,
    "random_block": random_block,
    "random_tube": random_tube,
    "random": random,
}


def make_mask_fn(
    strategy: str,
    grid: tuple[int, int, int],
    mask_ratio: float,
    *,
    jitter: float = 0.5,
    velocity: float = 1.0,
    guidance: str = "peak",
    guide_first_tubelet: bool = False,
) -> Callable[[Array, Array], Array]:
    """Makes the function from keys and motion to masks, for a batch.

    Args:
        strategy: A name in `STRATEGIES`.
        grid: Token grid (t, h, w).
        mask_ratio: Share of masked tokens.
        jitter: `mgm`, `smm`: largest change of a box side per step, in cells.
        velocity: `smm`, `smm_sparse`: largest move of the box per step and axis, in cells.
        guidance: `mgm`: centre the box on the motion's "peak", or on the "window" of the box's size
            with the most motion.
        guide_first_tubelet: `mgm`: whether motion also places the first box.

    Returns:
        A pure function of keys [b], one per clip, and magnitude [b, t, mh, mw] in pixels, with
        (mh, mw) an integer multiple of (h, w). It returns masks [b, t, h, w] and is for its caller
        to jit. It raises ValueError when the magnitude's shape does not fit the grid.

    Raises:
        ConfigError: A setting is unknown or out of range.
    """
    if strategy not in STRATEGIES:
        near = difflib.get_close_matches(strategy, STRATEGIES) or sorted(STRATEGIES)
        raise ConfigError(f"unknown masking strategy {strategy!r}; did you mean {', '.join(near)}?")
    if guidance not in GUIDANCES:
        raise ConfigError(f"unknown guidance {guidance!r}; choose one of {', '.join(GUIDANCES)}")
    for name, cells in (("jitter", jitter), ("velocity", velocity)):
        if not 0 <= cells <= max(grid[1:]):
            raise ConfigError(
                f"{name} {cells} is not between 0 and {max(grid[1:])}, the longer side of grid "
                f"{grid} in cells"
            )
    num_masked(grid, mask_ratio)
    units_per_cell(grid)
    settings = MaskSettings(grid, mask_ratio, jitter, velocity, guidance, guide_first_tubelet)

    def mask_fn(
        keys: Key[Array, "b"], magnitude: Float[Array, "b t mh mw"]
    ) -> Bool[Array, "b t h w"]:
        steps, rows, columns = magnitude.shape[1:]
        if steps != grid[0] or rows % grid[1] or columns % grid[2] or not rows * columns:
            raise ValueError(
                f"motion of {steps} steps of {rows}x{columns} cells does not fit the token grid "
                f"{grid}; it needs {grid[0]} steps and a multiple of {grid[1]}x{grid[2]} cells"
            )
        return jax.vmap(lambda key, clip: STRATEGIES[strategy](key, clip, settings))(
            keys, magnitude
        )

    return mask_fn


def split_ids(
    mask: Bool[Array, "b t h w"], num_masked: int
) -> tuple[Int[Array, "b visible"], Int[Array, "b masked"]]:
    """Flat positions of the visible and of the masked tokens of each clip.

    Args:
        mask: True where masked, with exactly `num_masked` of them in every clip.
        num_masked: Tokens masked in every clip.

    Returns:
        (visible_ids, masked_ids), each ascending; position = (step · h + row) · w + column.
    """
    flat = mask.reshape(len(mask), -1)
    tokens = flat.shape[1]
    # One sort of plain numbers: masked positions move behind all others.
    order = jnp.sort(jnp.arange(tokens) + tokens * flat, axis=1)
    num_visible = tokens - num_masked
    return order[:, :num_visible], order[:, num_visible:] - tokens


def _mask_boxes(key: Key[Array, ""], boxes: Boxes, settings: MaskSettings) -> Bool[Array, "t h w"]:
    """Masks the exact count of tokens nearest to the boxes that came from the same key."""
    _, tie_key = jax.random.split(key)
    count = num_masked(settings.grid, settings.mask_ratio)
    return mask_boxes(tie_key, boxes, settings.grid, count)


def _random_cells(key: Key[Array, ""], shape: tuple[int, ...], count: int) -> Bool[Array, "*shape"]:
    """Marks exactly `count` cells at random."""
    (scores,) = random_bits(key, (math.prod(shape),))
    return mark_lowest(scores, count).reshape(shape)


def _cells_per_token(magnitude: Float[Array, "t mh mw"], settings: MaskSettings) -> tuple[int, int]:
    """Motion cells per token, (vertical, horizontal)."""
    return (
        magnitude.shape[1] // settings.grid[1],
        magnitude.shape[2] // settings.grid[2],
    )
