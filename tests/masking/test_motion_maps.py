"""Motion maps: magnitude per tubelet, camera compensation, where the most motion is."""

import jax
import jax.numpy as jnp
import numpy as np
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
    length = np.hypot(vectors[..., 0], vectors[..., 1]) * valid[:, :, None, None]
    vectors[~valid] = np.nan  # The motion of an invalid frame must not matter.
    magnitude = motion_maps.magnitude_per_tubelet(jnp.array(vectors), jnp.array(valid))
    expected = np.maximum(length[:, ::2], length[:, 1::2])
    np.testing.assert_allclose(magnitude, expected, rtol=1e-5)


def test_median_removes_a_pan_and_leaves_the_rest():
    compensate = jax.jit(motion_maps.compensate_camera, static_argnames="mode")
    vectors = np.broadcast_to(np.float32([5, -2]), (2, 4, 6, 5, 2)).copy()
    vectors[:, :, 1:3, 1:3] = [1, 4]
    valid = np.array([[True, False, True, True], [False, True, True, True]])
    compensated = np.array(compensate(jnp.array(vectors), jnp.array(valid), mode="median"))
    np.testing.assert_array_equal(compensated[~valid], vectors[~valid])
    np.testing.assert_array_equal(compensated[valid], vectors[valid] - [5, -2])


def draw_magnitude(seed, levels):
    """Whole numbers, so that there are ties when the levels are few."""
    rng = np.random.default_rng(seed)
    magnitude = rng.integers(0, levels, (4, 6, 5)).astype(np.float32)
    return magnitude, rng.integers(0, 2**32, (6, 5), dtype=np.uint32)


@given(seeds, st.sampled_from((1, 2, 50)))
@settings(max_examples=20, deadline=None)
def test_peaks_and_windows_are_the_largest(seed, levels):
    magnitude, priority = draw_magnitude(seed, levels)
    size = np.random.default_rng(seed).integers(1, (7, 6), (4, 2)).astype(np.int32)
    peaks = np.array(jax.jit(motion_maps.peak_cells)(magnitude, priority))
    places = np.array(jax.jit(motion_maps.busiest_windows)(magnitude, priority, size))
    for tubelet, peak, place, window in zip(magnitude, peaks, places, size, strict=True):
        assert tubelet[tuple(peak)] == tubelet.max()
        assert priority[tuple(peak)] | 1 == (priority[tubelet == tubelet.max()] | 1).max()
        sums = np.lib.stride_tricks.sliding_window_view(tubelet, window).sum(axis=(2, 3))
        assert sums[tuple(place)] == sums.max()


def test_windows_follow_motion_of_less_than_a_pixel():
    magnitude = np.zeros((1, 8, 8), np.float32)
    magnitude[0, 5:7, 1:3] = 0.3
    size, priority = np.array([[2, 2]], np.int32), np.zeros((8, 8), np.uint32)
    found = jax.jit(motion_maps.busiest_windows)(magnitude, priority, size)
    np.testing.assert_array_equal(found, [[5, 1]])


def test_window_sums_do_not_overflow():
    magnitude = np.full((1, 28, 28), 1e9, np.float32)
    magnitude[0, :5] = 0
    priority = np.zeros((28, 28), np.uint32)
    find = jax.jit(motion_maps.busiest_windows)
    place = find(magnitude, priority, np.array([[23, 28]], np.int32))
    np.testing.assert_array_equal(place, [[5, 0]])


def test_the_median_is_that_of_each_frame():
    vectors = np.zeros((2, 4, 6, 5, 2), np.float32)
    vectors += np.arange(4)[:, None, None, None] * [3.0, -1.0]
    found = motion_maps.compensate_camera(jnp.asarray(vectors), jnp.ones((2, 4), bool), "median")
    assert not np.any(found)
