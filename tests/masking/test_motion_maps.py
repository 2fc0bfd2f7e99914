"""Motion maps: magnitude per tubelet, camera compensation, where the most motion is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgm_jax.masking import motion_maps

seeds = st.integers(0, 2**31 - 1)


def draw_motion(seed, shape=(2, 4, 6, 5, 2)):
    return np.random.default_rng(seed).normal(0, 3, shape).astype(np.float32)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_magnitude_is_the_longest_valid_vector_of_the_tubelet(seed):
    vectors = draw_motion(seed)
    valid = np.random.default_rng(seed).random((2, 4)) < 0.6
    magnitude = motion_maps.magnitude_per_tubelet(jnp.array(vectors), jnp.array(valid))
    length = np.hypot(vectors[..., 0], vectors[..., 1]) * valid[:, :, None, None]
    expected = np.maximum(length[:, ::2], length[:, 1::2])
    np.testing.assert_allclose(magnitude, expected, rtol=1e-5)


def test_what_an_invalid_frame_holds_does_not_matter():
    vectors = draw_motion(0)
    vectors[0, 1] = np.nan
    valid = np.ones((2, 4), bool)
    valid[0, 1] = False
    magnitude = motion_maps.magnitude_per_tubelet(jnp.array(vectors), jnp.array(valid))
    np.testing.assert_allclose(magnitude[0, 0], np.hypot(*vectors[0, 0].transpose(2, 0, 1)), 1e-5)


def test_frames_that_make_no_tubelets_are_refused():
    vectors, valid = jnp.zeros((1, 4, 6, 5, 2)), jnp.ones((1, 4), bool)
    assert motion_maps.magnitude_per_tubelet(vectors, valid, 4).shape == (1, 1, 6, 5)
    with pytest.raises(ValueError, match="tubelets of 3 frames"):
        motion_maps.magnitude_per_tubelet(vectors, valid, 3)


def compensate(vectors, mode, valid=None):
    valid = np.ones(vectors.shape[:2], bool) if valid is None else valid
    compensated = jax.jit(motion_maps.compensate_camera, static_argnames="mode")(
        jnp.array(vectors), jnp.array(valid), mode=mode
    )
    return np.array(compensated)


def test_median_removes_a_pan_and_leaves_the_foreground():
    vectors = np.broadcast_to(np.float32([5, -2]), (2, 4, 6, 5, 2)).copy()
    vectors[:, :, 1:3, 1:3] = [1, 4]
    compensated = compensate(vectors, "median")
    np.testing.assert_array_equal(compensated[:, :, 1:3, 1:3] - [-4, 6], 0)
    compensated[:, :, 1:3, 1:3] = 0
    assert (compensated == 0).all()


def test_frames_without_motion_are_left_alone():
    valid = np.array([[True, False, True, True], [False, True, True, True]])
    compensated = compensate(draw_motion(1), "median", valid)
    np.testing.assert_array_equal(compensated[~valid], draw_motion(1)[~valid])
    assert (compensated[valid] != draw_motion(1)[valid]).any(axis=(1, 2, 3)).all()


def test_an_unknown_compensation_is_refused():
    with pytest.raises(ValueError, match="none, median"):
        motion_maps.compensate_camera(
            jnp.zeros((1, 2, 6, 5, 2)), jnp.ones((1, 2), bool), "homography"
        )


def draw_magnitude(seed, levels):
    """Whole numbers, so that there are ties when the levels are few."""
    rng = np.random.default_rng(seed)
    magnitude = rng.integers(0, levels, (4, 6, 5)).astype(np.float32)
    return magnitude, rng.integers(0, 2**32, (6, 5), dtype=np.uint32)


@given(seeds, st.sampled_from((1, 2, 50)))
@settings(max_examples=20, deadline=None)
def test_peak_is_a_largest_cell_of_highest_priority(seed, levels):
    magnitude, priority = draw_magnitude(seed, levels)
    peaks = np.array(jax.jit(motion_maps.peak_cells)(magnitude, priority))
    for tubelet, (row, column) in zip(magnitude, peaks, strict=True):
        assert tubelet[row, column] == tubelet.max()
        assert priority[row, column] | 1 == (priority[tubelet == tubelet.max()] | 1).max()


@given(seeds, st.sampled_from((1, 2, 50)))
@settings(max_examples=20, deadline=None)
def test_busiest_window_holds_the_most(seed, levels):
    magnitude, priority = draw_magnitude(seed, levels)
    size = np.random.default_rng(seed).integers(1, (7, 6), (4, 2)).astype(np.int32)
    places = np.array(jax.jit(motion_maps.busiest_windows)(magnitude, priority, size))
    for tubelet, (top, left), (height, width) in zip(magnitude, places, size, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(tubelet, (height, width))
        sums = windows.sum(axis=(2, 3))
        assert sums[top, left] == sums.max()


def test_window_sums_do_not_overflow():
    magnitude = np.full((1, 28, 28), 1e9, np.float32)
    magnitude[0, :5] = 0
    priority = np.zeros((28, 28), np.uint32)
    find = jax.jit(motion_maps.busiest_windows)
    place = find(magnitude, priority, np.array([[23, 28]], np.int32))
    np.testing.assert_array_equal(place, [[5, 0]])
