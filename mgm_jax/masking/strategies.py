"""Masking strategies: which tokens of a clip are hidden from the encoder (Eq. 5-7, Table 4e).

In a mask, True means masked. Every strategy masks exactly `num_masked` tokens of every clip, so
shapes are static. Strategies compute in integers, so a mask depends on the clip's random key and
motion magnitude alone, and is bit-identical with and without jit, on any device and sharding.

Each function in `STRATEGIES` takes a clip's key, its motion magnitude [t, mh, mw] in pixels, where
(mh, mw) is a multiple of the token grid's (h, w), and the settings; it returns the mask [t, h, w].
`make_mask_fn` maps it over a batch.
"""

import dataclasses
import difflib
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key
from ml_collections import ConfigDict

from mgm_jax.config import mask_ratio
from mgm_jax.errors import ConfigError
from mgm_jax.masking import motion_maps
from mgm_jax.masking.moving_boxes import (
    Boxes,
    centred_boxes,
    fit_sizes,
    jittered_sizes,
    mark_lowest,
    mask_boxes,
    random_bits,
    random_start,
    units_per_token,
    walking_boxes,
)

ClipKey = Key[Array, ""]
Magnitude = Float[Array, "t mh mw"]
Mask = Bool[Array, "t h w"]


@dataclasses.dataclass(frozen=True)
class MaskSettings:
    """The token grid (t, h, w) and the values of `config.masking`; see `mgm_jax.base_config`."""

    grid: tuple[int, int, int]
    ratio: float
    jitter: float = 0.5
    velocity: float = 1.0
    guidance: str = "peak"
    guide_first_tubelet: bool = False

    @property
    def num_masked(self) -> int:
        """Masked tokens of a clip."""
        return num_masked(self.grid, self.ratio)

    @property
    def masked_per_tubelet(self) -> int:
        """Masked tokens of a tubelet: exact for sparse masks, the average for boxes."""
        return self.num_masked // self.grid[0]


def num_masked(grid: tuple[int, int, int], ratio: float) -> int:
    """Number of masked tokens of a clip, for a mask ratio above 0 and below 1.

    Decision: t · round(ratio · h · w) for every strategy. For 8x14x14 tokens that is 1176 of 1568
    at 0.75, and 1408 at 0.9, as in VideoMAE.

    Raises:
        ConfigError: The ratio masks no or all tokens of a tubelet.
    """
    tubelets, height, width = grid
    per_tubelet = round(ratio * height * width)
    if not 0 < per_tubelet < height * width:
        raise ConfigError(
            f"config.masking.ratio={ratio} masks {per_tubelet} of the {height * width} tokens of a "
            f"tubelet of grid {grid}; choose one that masks some and leaves some, as 0.75 does"
        )
    return tubelets * per_tubelet


def mgm(key: ClipKey, magnitude: Magnitude, settings: MaskSettings) -> Mask:
    """Motion-guided masking, the paper's method: a solid box that follows the motion (Eq. 6, 7)."""
    return _mask_boxes(key, mgm_boxes(key, magnitude, settings), settings)


def mgm_boxes(key: ClipKey, magnitude: Magnitude, settings: MaskSettings) -> Boxes:
    """The boxes of `mgm`, before they are rounded to whole tokens.

    The first box is at a random place; each later one is centred on its tubelet's motion peak.

    Decisions: the box is centred on the centre of the peak's motion cell, and a tubelet without
    motion keeps the previous centre. Beyond the paper, `guidance="window"` places the box where it
    covers the most motion, and `guide_first_tubelet` lets motion place the first box as well.
    """
    grid, unit = settings.grid, units_per_token(settings.grid)
    box_key, _ = jax.random.split(key)
    size_bits, start_bits, priority = random_bits(
        box_key, (grid[0] - 1, 2), (2,), magnitude.shape[1:]
    )
    size = jittered_sizes(size_bits, grid, settings.ratio, settings.jitter)
    size = fit_sizes(size, grid, settings.num_masked)

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


def mgm_sparse(key: ClipKey, magnitude: Magnitude, settings: MaskSettings) -> Mask:
    """The tokens with the most motion in each tubelet, wherever they are.

    Decisions: Pool_topK of Eq. 7 with K = round(ratio · h · w); a token has the largest magnitude
    of its motion cells; ties are random, so a tubelet without motion is masked at random.
    """
    tubelets, height, width = settings.grid
    down, across = _cells_per_token(magnitude, settings)
    strength = magnitude.reshape(tubelets, height, down, width, across).max(axis=(2, 4))
    strength = strength.reshape(tubelets, -1)
    weakest = jnp.sort(strength, axis=-1)[:, -settings.masked_per_tubelet, None]
    # Order: stronger tokens, then the equally strong ones in random order, then the rest.
    scores = jnp.where(strength > weakest, 0, 3)
    scores = jnp.where(strength == weakest, 1, scores).astype(jnp.uint32) << 30
    scores += random_bits(key, strength.shape)[0] >> 2
    masked = jax.vmap(mark_lowest, in_axes=(0, None))(scores, settings.masked_per_tubelet)
    return masked.reshape(settings.grid)


def smm(key: ClipKey, magnitude: Magnitude, settings: MaskSettings) -> Mask:
    """Simulated-motion masking: a solid box on a random walk (Eq. 5)."""
    del magnitude
    return _mask_boxes(key, smm_boxes(key, settings), settings)


def smm_boxes(key: ClipKey, settings: MaskSettings) -> Boxes:
    """The boxes of `smm`, before they are rounded to tokens; height and width change alike."""
    grid, changes = settings.grid, settings.grid[0] - 1
    box_key, _ = jax.random.split(key)
    size_bits, start_bits, walk_bits = random_bits(box_key, (changes, 1), (2,), (changes, 2))
    size = jittered_sizes(size_bits, grid, settings.ratio, settings.jitter)
    size = fit_sizes(size, grid, settings.num_masked)
    start = random_start(start_bits, size[0], grid)
    return walking_boxes(walk_bits, start, size, grid, settings.velocity)


def smm_sparse(key: ClipKey, magnitude: Magnitude, settings: MaskSettings) -> Mask:
    """A random pattern that follows the random walk of `smm`.

    Decision: the pattern moves by whole tokens, as the `smm` box of the same key does, and wraps
    around at the border, which keeps the count.
    """
    del magnitude
    _, height, width = settings.grid
    unit = units_per_token(settings.grid)
    corner = smm_boxes(key, settings).top_left
    shift = (2 * (corner - corner[0]) + unit) // (2 * unit)
    _, pattern_key = jax.random.split(key)
    pattern = _random_tokens(pattern_key, (height, width), settings.masked_per_tubelet)
    rows = (jnp.arange(height) - shift[:, :1]) % height
    columns = (jnp.arange(width) - shift[:, 1:]) % width
    return pattern[rows[:, :, None], columns[:, None, :]]


def random_block(key: ClipKey, magnitude: Magnitude, settings: MaskSettings) -> Mask:
    """One solid box at a random place, the same in every tubelet.

    It is drawn for one tubelet and repeated, so all share the incomplete row or column.
    """
    del magnitude
    still = dataclasses.replace(settings, grid=(1, *settings.grid[1:]), jitter=0.0)
    block = _mask_boxes(key, smm_boxes(key, still), still)
    return jnp.broadcast_to(block, settings.grid)


def random_tube(key: ClipKey, magnitude: Magnitude, settings: MaskSettings) -> Mask:
    """Random tokens, the same in every tubelet (VideoMAE)."""
    del magnitude
    pattern = _random_tokens(key, settings.grid[1:], settings.masked_per_tubelet)
    return jnp.broadcast_to(pattern, settings.grid)


def random(key: ClipKey, magnitude: Magnitude, settings: MaskSettings) -> Mask:
    """Random tokens of the whole clip (ST-MAE); the count is exact per clip, not per tubelet."""
    del magnitude
    return _random_tokens(key, settings.grid, settings.num_masked)


STRATEGIES: dict[str, Callable[[ClipKey, Magnitude, MaskSettings], Mask]] = {
    "mgm": mgm,
    "mgm_sparse": mgm_sparse,
    "smm": smm,
    "smm_sparse": smm_sparse,
    "random_block": random_block,
    "random_tube": random_tube,
    "random": random,
}


def make_mask_fn(
    masking: ConfigDict, grid: tuple[int, int, int]
) -> Callable[[Key[Array, "b"], Float[Array, "b t mh mw"]], Bool[Array, "b t h w"]]:
    """Makes the pure function (keys, motion magnitude) -> masks of a batch, with one key per clip.

    Raises:
        ConfigError: A value is unknown or out of range.
    """
    if masking.strategy not in STRATEGIES:
        near = difflib.get_close_matches(masking.strategy, STRATEGIES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(STRATEGIES))}"
        raise ConfigError(f"config.masking.strategy={masking.strategy!r} is unknown; {hint}")
    for name in ("jitter", "velocity"):
        if not 0 <= masking[name] <= max(grid[1:]):
            raise ConfigError(
                f"config.masking.{name}={masking[name]} is not between 0 and {max(grid[1:])}, the "
                f"longer side of the token grid {grid}"
            )
    units_per_token(grid)
    names = [field.name for field in dataclasses.fields(MaskSettings) if field.name != "grid"]
    values = {name: masking[name] for name in names} | {"ratio": mask_ratio(masking)}
    settings = MaskSettings(grid, **values)
    num_masked(grid, settings.ratio)
    strategy = STRATEGIES[masking.strategy]

    def mask_fn(
        keys: Key[Array, "b"], magnitude: Float[Array, "b t mh mw"]
    ) -> Bool[Array, "b t h w"]:
        tubelets, rows, columns = magnitude.shape[1:]
        if tubelets != grid[0] or rows % grid[1] or columns % grid[2] or not rows * columns:
            raise ValueError(
                f"motion of {tubelets} tubelets of {rows}x{columns} cells does not fit the token "
                f"grid {grid}: it needs {grid[0]} tubelets and a multiple of {grid[1]}x{grid[2]} "
                "cells"
            )
        return jax.vmap(lambda key, clip: strategy(key, clip, settings))(keys, magnitude)

    return mask_fn


def split_ids(
    mask: Bool[Array, "b t h w"], num_masked: int
) -> tuple[Int[Array, "b visible"], Int[Array, "b masked"]]:
    """Ascending flat positions (t · h · w, time-major) of the visible and of the masked tokens.

    Every clip must have exactly `num_masked` masked tokens.
    """
    flat = mask.reshape(len(mask), -1)
    tokens = flat.shape[1]
    # One sort of plain integers: masked positions move behind all others.
    order = jnp.sort(jnp.arange(tokens) + tokens * flat, axis=1)
    num_visible = tokens - num_masked
    return order[:, :num_visible], order[:, num_visible:] - tokens


def _mask_boxes(key: ClipKey, boxes: Boxes, settings: MaskSettings) -> Mask:
    _, tie_key = jax.random.split(key)
    return mask_boxes(tie_key, boxes, settings.grid, settings.num_masked)


def _random_tokens(key: ClipKey, shape: tuple[int, ...], count: int) -> Bool[Array, "*shape"]:
    (scores,) = random_bits(key, (math.prod(shape),))
    return mark_lowest(scores, count).reshape(shape)


def _cells_per_token(magnitude: Magnitude, settings: MaskSettings) -> tuple[int, int]:
    """Motion cells per token, (vertical, horizontal)."""
    _, rows, columns = magnitude.shape
    _, height, width = settings.grid
    return rows // height, columns // width
