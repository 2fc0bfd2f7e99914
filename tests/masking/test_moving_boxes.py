"""Box geometry: sizes that sum to the count, walks that stay inside, tokens nearest first."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgm_jax.masking import moving_boxes, strategies

PAPER = ((8, 14, 14), 1176)
LAYOUTS = (PAPER, ((4, 5, 9), 4 * 30), ((3, 16, 3), 3 * 29))


def boxes_and_mask(key, twice_centre, size, grid, count):
    size = moving_boxes.fit_sizes(size, grid, count)
    boxes = moving_boxes.centred_boxes(twice_centre, size, grid)
    return boxes, moving_boxes.mask_boxes(key, boxes, grid, count)


@functools.cache
def jitted(grid, count):
    return jax.jit(functools.partial(boxes_and_mask, grid=grid, count=count))


def draw_boxes(grid, count, seed):
    """A clip of boxes of the size Eq. 7 gives them, here and there or all in one place."""
    rng, unit = np.random.default_rng(seed), moving_boxes.units_per_token(grid)
    side = np.sqrt(count / grid[0]) + rng.uniform(-1, 1, (grid[0], 2)) * rng.choice([0, 0.7])
    centre = rng.uniform(0, 1, (grid[0], 2))
    centre = np.where(rng.random() < 0.3, np.round(centre), centre)
    centre = np.where(rng.random() < 0.3, centre[:1], centre) * grid[1:]
    key = jax.random.key(seed)
    boxes, mask = jitted(grid, count)(
        key, np.int32(np.round(2 * centre * unit)), np.int32(np.round(side * unit))
    )
    return np.array(boxes.top_left) / unit, np.array(boxes.size) / unit, np.array(mask)


@given(st.sampled_from(LAYOUTS), st.integers(0, 2**31 - 1))
@settings(max_examples=60, deadline=None)
def test_boxes_have_the_area_of_the_count_and_masks_are_their_nearest_tokens(layout, seed):
    grid, count = layout
    top_left, size, mask = draw_boxes(grid, count, seed)
    unit = moving_boxes.units_per_token(grid)
    assert mask.sum() == count
    assert (size >= 1).all()
    assert (top_left >= 0).all()
    assert (top_left + size <= grid[1:]).all()
    area = size.prod(axis=1).sum()
    # One unit more on every side would already be too much.
    assert count - (size.sum() + grid[0] / unit) * max(grid[1:]) / unit <= area <= count

    inside, overlapping, distance = True, True, 0
    for axis, shape in ((0, (1, -1, 1)), (1, (1, 1, -1))):
        first = np.arange(grid[1 + axis]).reshape(shape)
        low = top_left[:, axis, None, None]
        side = size[:, axis, None, None]
        inside = inside & (low <= first) & (first + 1 <= low + side)
        overlapping = overlapping & (low < first + 1) & (first < low + side)
        distance = np.maximum(distance, np.abs(first + 0.5 - low - side / 2) / (side / 2))
    assert mask[inside].all()
    assert not mask[~overlapping].any()
    assert distance[mask].max() <= distance[~mask].min() + 1 / 2048


@pytest.mark.parametrize("grid", [(8, 14, 14), (2, 3, 3), (1, 4, 4)])
@pytest.mark.parametrize("shared", [True, False])
def test_jitter_sums_to_zero(grid, shared):
    jitter, unit = 0.5, moving_boxes.units_per_token(grid)
    bits = jax.random.bits(jax.random.key(0), (100, grid[0] - 1, 1 if shared else 2))
    sizes = jax.vmap(lambda bits: moving_boxes.jittered_sizes(bits, grid, 0.75, jitter))
    size = np.array(jax.jit(sizes)(bits)) / unit
    np.testing.assert_allclose(size[:, 0], np.sqrt(0.75 * grid[1] * grid[2]), atol=1 / unit)
    np.testing.assert_array_equal(size[:, -1], size[:, 0])
    # The mean that is removed can be as large as the jitter itself.
    changes = np.abs(np.diff(size, axis=1))
    assert (changes <= 2 * jitter + 1 / unit).all()
    if grid[0] > 2:
        assert changes.max() > jitter
        assert shared == (size[..., 0] == size[..., 1]).all()


def test_incomplete_lines_favour_no_tubelet_and_no_side():
    grid, count = PAPER
    unit = moving_boxes.units_per_token(grid)
    centre, side = np.full((2, 8, 2), 14 * unit, np.int32)
    draw = functools.partial(boxes_and_mask, grid=grid, count=count)
    draw = jax.jit(jax.vmap(draw, in_axes=(0, None, None)))
    _, masks = draw(jax.random.split(jax.random.key(0), 2000), centre, side)
    average = np.mean(masks, axis=0)
    np.testing.assert_allclose(average.mean(axis=(1, 2)), count / average.size, atol=0.01)
    for flipped in (average[:, ::-1], average[:, :, ::-1], average.swapaxes(1, 2)):
        np.testing.assert_allclose(average, flipped, atol=0.03)


@pytest.mark.parametrize(("velocity", "side"), [(0.25, 12.0), (3.0, 4.0), (5.0, 13.0)])
def test_a_walk_moves_by_its_velocity_at_most_and_stays_inside(velocity, side):
    grid, _ = PAPER
    unit = moving_boxes.units_per_token(grid)
    size = jnp.full((8, 2), round(side * unit), jnp.int32)

    def walk(key):
        start_bits, walk_bits = moving_boxes.random_bits(key, (2,), (grid[0] - 1, 2))
        start = moving_boxes.random_start(start_bits, size[0], grid)
        return moving_boxes.walking_boxes(walk_bits, start, size, grid, velocity)

    boxes = jax.jit(jax.vmap(walk))(jax.random.split(jax.random.key(0), 500))
    top_left = np.array(boxes.top_left) / unit
    assert (top_left >= 0).all()
    assert (top_left + side <= 14).all()
    moves = np.abs(np.diff(top_left, axis=1))
    assert moves.max() <= velocity
    assert moves.max() > 0.9 * min(velocity, 14 - side)
    # Uniform at the start, and the mirror keeps it so: the border does not hold the box.
    np.testing.assert_allclose(top_left.mean(axis=0), (14 - side) / 2, rtol=0.15)
    near_border = (top_left < 0.1 * (14 - side)).mean(axis=0)
    np.testing.assert_allclose(near_border, 0.1, atol=0.05)


def test_walking_boxes_that_grow_stay_in_the_frame():
    settings = strategies.MaskSettings((8, 14, 14), 0.6, jitter=2.0, velocity=5.0)
    draw = jax.jit(jax.vmap(lambda key: strategies.smm_boxes(key, settings)))
    boxes = draw(jax.random.split(jax.random.key(0), 64))
    assert (boxes.top_left >= 0).all()
    assert (boxes.top_left + boxes.size <= 14 * moving_boxes.units_per_token((8, 14, 14))).all()
