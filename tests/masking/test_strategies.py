"""Masks: exact counts, shapes and places; they depend on key and motion alone."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from mgm_jax.masking import strategies
from mgm_jax.masking.moving_boxes import units_per_token

PAPER = ((8, 14, 14), 2, 0.75, 0.5)
# (token grid, motion cells per token, mask ratio, jitter): square and not, large and small.
LAYOUTS = (
    PAPER,
    ((8, 14, 14), 2, 0.75, 0.0),
    ((2, 3, 3), 1, 0.3, 0.5),
    ((4, 5, 9), 2, 0.9, 0.5),
)
# Small boxes that keep their size, to see where they go.
SMALL = strategies.MaskSettings((8, 14, 14), 0.2, jitter=0.0)
MOTIONS = ("none", "one cell", "equal", "corners", "some tubelets", "everywhere")
CLIPS = 16


@functools.cache
def jitted(strategy="mgm", grid=(8, 14, 14), ratio=0.75, **changes):
    values = {"jitter": 0.5, "velocity": 1.0, "guidance": "peak", "guide_first_tubelet": False}
    masking = ConfigDict({"strategy": strategy, "ratio": ratio} | values | changes)
    return jax.jit(strategies.make_mask_fn(masking, grid))


def make_magnitude(kind, grid=(8, 14, 14), cells_per_token=2, seed=0):
    tubelets, height, width = grid
    shape = (CLIPS, tubelets, height * cells_per_token, width * cells_per_token)
    rng = np.random.default_rng(seed)
    magnitude = np.zeros(shape, np.float32)
    if kind == "equal":
        magnitude[:] = 3.0
    elif kind in ("one cell", "corners"):
        clip, tubelet = np.indices(shape[:2])
        row, column = rng.integers(0, shape[2:], (*shape[:2], 2)).transpose(2, 0, 1)
        if kind == "corners":
            row, column = (row % 2) * (shape[2] - 1), (column % 2) * (shape[3] - 1)
        magnitude[clip, tubelet, row, column] = 5.0
    elif kind != "none":
        magnitude[:] = rng.gamma(0.5, 4.0, shape)
        if kind == "some tubelets":
            magnitude *= rng.random((*shape[:2], 1, 1)) < 0.5
    return magnitude


def make_keys(seed):
    return jax.random.split(jax.random.key(seed), CLIPS)


def peak_is_masked(mask, magnitude):
    """Per tubelet: whether a token with the largest magnitude is masked, or nothing moves."""
    tubelets, height, width = mask.shape
    tokens = magnitude.reshape(tubelets, height, magnitude.shape[1] // height, width, -1)
    tokens = tokens.max(axis=(2, 4))
    largest = tokens.max(axis=(1, 2), keepdims=True)
    return (mask & (tokens == largest)).any(axis=(1, 2)) | (largest[:, 0, 0] == 0)


def is_solid(tubelet):
    """Whether the masked tokens of a tubelet fill their bounding rectangle."""
    rows, columns = np.flatnonzero(tubelet.any(1)), np.flatnonzero(tubelet.any(0))
    return not len(rows) or tubelet.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)


layouts = st.sampled_from(LAYOUTS)
motions = st.sampled_from(MOTIONS)
seeds = st.integers(0, 2**31 - 1)
two_layouts = st.sampled_from((PAPER, LAYOUTS[3]))


@given(st.sampled_from(sorted(strategies.STRATEGIES)), two_layouts, motions, seeds)
@settings(max_examples=40, deadline=None)
def test_every_clip_has_the_exact_count(strategy, layout, kind, seed):
    grid, cells_per_token, ratio, jitter = layout
    magnitude = make_magnitude(kind, grid, cells_per_token, seed)
    mask = jitted(strategy, grid, ratio, jitter=jitter)(make_keys(seed), magnitude)
    assert mask.dtype == bool
    expected = grid[0] * round(ratio * grid[1] * grid[2])
    assert strategies.num_masked(grid, ratio) == expected
    np.testing.assert_array_equal(np.sum(mask, axis=(1, 2, 3)), expected)


@given(layouts, motions, seeds)
@settings(max_examples=50, deadline=None)
def test_mgm_boxes_are_solid_and_cover_the_peak(layout, kind, seed):
    grid, cells_per_token, ratio, jitter = layout
    magnitude = make_magnitude(kind, grid, cells_per_token, seed)
    mask = jitted("mgm", grid, ratio, jitter=jitter)(make_keys(seed), magnitude)
    for clip_mask, clip_magnitude in zip(np.array(mask), magnitude, strict=True):
        assert sum(is_solid(tubelet) for tubelet in clip_mask) >= len(clip_mask) - 1
        assert peak_is_masked(clip_mask, clip_magnitude)[1:].all()


def boxes_of(strategy, chosen, keys, magnitude):
    """The boxes behind a strategy's masks, in tokens: top-left corners and sizes."""
    find = {
        "mgm": lambda key, magnitude: strategies.mgm_boxes(key, magnitude, chosen),
        "smm": lambda key, _: strategies.smm_boxes(key, chosen),
    }[strategy]
    boxes = jax.jit(jax.vmap(find))(keys, magnitude)
    unit = units_per_token(chosen.grid)
    return np.array(boxes.top_left) / unit, np.array(boxes.size) / unit


@pytest.mark.parametrize("strategy", sorted(strategies.STRATEGIES))
def test_jit_batch_and_sharding_change_no_bit(strategy):
    keys = make_keys(3)
    magnitude = jnp.array(make_magnitude("some tubelets", seed=5))
    mask_fn = jitted(strategy)
    expected = np.array(mask_fn(keys, magnitude))
    if strategy == "mgm":  # The others are made of the same parts.
        alone = mask_fn.__wrapped__(keys[5:6], magnitude[5:6])
        np.testing.assert_array_equal(alone, expected[5:6])

    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    sharded = jax.jit(mask_fn, out_shardings=sharding)(
        jax.device_put(keys, sharding), jax.device_put(magnitude, sharding)
    )
    assert len(sharded.addressable_shards) == 8
    np.testing.assert_array_equal(sharded, expected)


@pytest.mark.parametrize("strategy", sorted(strategies.STRATEGIES))
def test_every_clip_has_its_own_mask_and_no_place_is_preferred(strategy):
    masks = np.array(jitted(strategy, ratio=0.25)(make_keys(2), make_magnitude("none")))
    assert len({mask.tobytes() for mask in masks}) > CLIPS / 2
    assert (masks.mean(axis=(0, 1))[[0, -1, 0, -1], [0, -1, -1, 0]] < 0.75).all()
    if strategy.startswith("random_"):
        assert (masks == masks[:, :1]).all()
    elif strategy != "mgm":  # Its box waits for motion.
        assert (masks != masks[:, :1]).any(axis=(1, 2, 3)).all()


def test_sizes_change_by_the_jitter():
    chosen = strategies.MaskSettings(*PAPER[::2])
    for strategy in ("mgm", "smm"):
        _, size = boxes_of(strategy, chosen, make_keys(0), make_magnitude("everywhere"))
        assert (np.ptp(size, axis=1) > 0).all()
        assert (size[..., 0] == size[..., 1]).all() == (strategy == "smm")


def test_random_block_is_one_block():
    """A rectangle plus part of the next row or column, the same in every tubelet."""
    mask_fn = jitted("random_block")
    for mask in np.array(mask_fn(make_keys(7), make_magnitude("none"))):
        block = mask[0]
        assert (mask == block).all()
        rows, columns = np.flatnonzero(block.any(1)), np.flatnonzero(block.any(0))
        assert sorted((len(rows), len(columns))) == [12, 13]
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (len(rows), len(columns))
        block = block[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        trimmed = [block[1:], block[:-1], block[:, 1:], block[:, :-1]]
        assert any(part.all() and part.size == 144 for part in trimmed)


def test_smm_sparse_moves_one_pattern_as_the_smm_box():
    chosen = dataclasses.replace(SMALL, velocity=3.0)
    keys, magnitude = make_keys(0), make_magnitude("none")
    mask_fn = jitted("smm_sparse", chosen.grid, chosen.ratio, jitter=0.0, velocity=3.0)
    mask = np.array(mask_fn(keys, magnitude))
    top_left, _ = boxes_of("smm", chosen, keys, magnitude)
    shifts = np.floor(top_left - top_left[:, :1] + 0.5).astype(int)
    assert np.abs(np.diff(top_left, axis=1)).max() > 2
    for clip_mask, clip_shifts in zip(mask, shifts, strict=True):
        for tubelet, shift in zip(clip_mask, clip_shifts, strict=True):
            np.testing.assert_array_equal(tubelet, np.roll(clip_mask[0], shift, axis=(0, 1)))


@given(two_layouts, motions, seeds)
@settings(max_examples=25, deadline=None)
def test_mgm_sparse_masks_the_strongest_tokens_of_each_tubelet(layout, kind, seed):
    grid, cells_per_token, ratio, jitter = layout
    magnitude = make_magnitude(kind, grid, cells_per_token, seed)
    mask_fn = jitted("mgm_sparse", grid, ratio, jitter=jitter)
    mask = np.array(mask_fn(make_keys(seed), magnitude))
    tubelets, height, width = grid
    strength = magnitude.reshape(CLIPS, tubelets, height, cells_per_token, width, cells_per_token)
    strength = strength.max(axis=(3, 5))
    weakest_masked = np.where(mask, strength, np.inf).min(axis=(2, 3))
    strongest_visible = np.where(mask, -np.inf, strength).max(axis=(2, 3))
    assert (weakest_masked >= strongest_visible).all()
    assert (mask.sum(axis=(2, 3)) == round(ratio * height * width)).all()


def moving_square():
    """A square of 2x2 motion cells that crosses the frame, and its first cell in each tubelet."""
    magnitude = np.zeros((CLIPS, 8, 28, 28), np.float32)
    places = np.array([(1 + 3 * tubelet, 20 - 2 * tubelet) for tubelet in range(8)])
    for tubelet, (row, column) in enumerate(places):
        magnitude[:, tubelet, row : row + 2, column : column + 2] = 4.0
    return magnitude, places


def test_mgm_box_follows_the_motion():
    magnitude, places = moving_square()
    top_left, size = boxes_of("mgm", SMALL, make_keys(0), magnitude)
    centre = top_left + size / 2
    # The centre of the winning cell, one of the square's four, unless the frame's border is near.
    expected = np.clip((places + 1) / 2, size / 2, 14 - size / 2)
    assert np.abs(centre - expected)[:, 1:].max() <= 0.25 + 1 / units_per_token(SMALL.grid)
    assert np.ptp(centre[:, 1:], axis=1).min() > 5


def test_tubelets_without_motion_and_pans_keep_the_box():
    magnitude, _ = moving_square()
    magnitude[:, [1, 2, 5, 6]] = 0
    top_left, _ = boxes_of("mgm", SMALL, make_keys(1), magnitude)
    moved = (np.diff(top_left, axis=1) != 0).any(axis=2)
    assert (moved == [False, False, True, True, False, False, True]).all()
    # A pan has no peak: the place is random.
    top_left, _ = boxes_of("mgm", SMALL, make_keys(0), make_magnitude("equal"))
    assert (top_left[:, 1:] == top_left[:, 1:2]).all()
    assert len(np.unique(top_left[:, 1], axis=0)) > CLIPS / 2


def test_first_tubelet_is_random_or_guided():
    magnitude, places = moving_square()
    magnitude[CLIPS // 2 :, 0] = 0
    random_start, _ = boxes_of("mgm", SMALL, make_keys(0), magnitude)
    guided = dataclasses.replace(SMALL, guide_first_tubelet=True)
    guided_start, size = boxes_of("mgm", guided, make_keys(0), magnitude)
    assert len(np.unique(random_start[:, 0], axis=0)) == CLIPS
    expected = np.clip((places[0] + 1) / 2 - size[0, 0] / 2, 0, 14 - size[0, 0])
    assert np.abs(guided_start[: CLIPS // 2, 0] - expected).max() < 0.26
    # Without motion in the first tubelet there is nothing to guide it.
    np.testing.assert_array_equal(guided_start[CLIPS // 2 :, 0], random_start[CLIPS // 2 :, 0])


def test_window_guidance_covers_an_area_rather_than_a_peak():
    magnitude = np.zeros((CLIPS, 8, 28, 28), np.float32)
    magnitude[:, :, 16:26, 16:26] = 2.0
    magnitude[:, :, 2, 2] = 9.0
    for guidance, peak, area in (("peak", True, False), ("window", False, True)):
        chosen = dataclasses.replace(SMALL, guidance=guidance)
        top_left, size = boxes_of("mgm", chosen, make_keys(0), magnitude)
        low, high = top_left[:, 1:], (top_left + size)[:, 1:]
        assert ((low <= 1) & (high >= 2)).all() == peak
        assert ((low <= 8) & (high >= 13)).all() == area


def test_a_vector_that_is_no_number_costs_no_count():
    magnitude = make_magnitude("everywhere")
    magnitude[0] = np.nan
    magnitude[1, 3, 5, 5] = np.nan
    magnitude[2, 3, 5, 5] = np.inf
    for strategy in ("mgm", "mgm_sparse"):
        mask = jitted(strategy)(make_keys(0), magnitude)
        assert (np.sum(mask, axis=(1, 2, 3)) == 1176).all()


def test_split_ids_partitions_the_tokens():
    mask = np.random.default_rng(0).permuted(np.tile(np.arange(180) < 60, (CLIPS, 1)), axis=1)
    visible_ids, masked_ids = strategies.split_ids(jnp.array(mask.reshape(CLIPS, 4, 5, 9)), 60)
    for clip in range(CLIPS):
        np.testing.assert_array_equal(visible_ids[clip], np.flatnonzero(~mask[clip]))
        np.testing.assert_array_equal(masked_ids[clip], np.flatnonzero(mask[clip]))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"strategy": "mgm_spars"}, "did you mean mgm_sparse"),
        ({"ratio": 1.0}, "config.masking.ratio"),
        ({"ratio": 0.999}, "config.masking.ratio"),
        ({"jitter": -0.5}, "config.masking.jitter"),
        ({"velocity": 15.0}, "config.masking.velocity"),
        ({"grid": (8, 512, 512)}, "larger patches"),
    ],
)
def test_settings_that_make_no_mask_are_refused(changes, named):
    with pytest.raises(ValueError, match=named):
        jitted(**changes)


@pytest.mark.parametrize("shape", [(16, 8, 28, 27), (16, 16, 28, 28)])
def test_motion_that_does_not_fit_the_grid_is_refused(shape):
    with pytest.raises(ValueError, match="token grid"):
        jitted()(make_keys(0), jnp.zeros(shape))
