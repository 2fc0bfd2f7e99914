import jax.numpy as jnp
import numpy as np
import pytest

from mgm_jax.preprocessing import rgb
from mgm_jax.preprocessing.modality import as_modality

FRAMES, SIZE = 4, 48


@pytest.fixture
def clips():
    """A still picture, but one pixel of its second frame is brighter by 0.2."""
    still = np.random.default_rng(2).uniform(0.2, 0.6, (1, 1, SIZE, SIZE, 3)).astype(np.float32)
    clips = np.repeat(still, FRAMES, axis=1)
    clips[:, 1, 3, 5] += 0.2
    return jnp.asarray(clips)


@pytest.fixture
def motion():
    """A pan by (1, -2) pixels, and a cell that moves by (+3, +1) against it in one frame."""
    motion = np.tile(np.float32([1, -2]), (1, FRAMES, SIZE // 8, SIZE // 8, 1))
    motion[:, 2, 1, 4] += [3, 1]
    return jnp.asarray(motion)


def shown(clips, motion, modality, valid=(True,) * FRAMES):
    made = as_modality(clips, motion, jnp.array([valid]), modality)
    return np.asarray(rgb.normalise(made))


def test_rgb_is_the_clip_itself(clips, motion):
    np.testing.assert_array_equal(
        as_modality(clips, motion, jnp.ones((1, FRAMES), bool), "rgb"), clips
    )


def test_changes_are_what_is_not_in_all_frames(clips, motion):
    expected = np.zeros(clips.shape)
    # One frame of four is brighter by 0.2: 0.15 above the mean over time, the others 0.05 below.
    expected[:, :, 3, 5] = 2 * -0.05 / np.array(rgb.STANDARD_DEVIATION)
    expected[:, 1, 3, 5] = 2 * 0.15 / np.array(rgb.STANDARD_DEVIATION)
    np.testing.assert_allclose(shown(clips, motion, "changes"), expected, atol=1e-5)


def test_motion_is_the_change_of_the_grey_and_displacement_against_the_camera(clips, motion):
    expected = np.zeros(clips.shape)
    expected[..., 0] = shown(clips, motion, "changes")[..., 0]
    # Two pixels of 48 are one standard deviation, and two of those the most.
    expected[:, 2, 8:16, 32:40, 1:] = [1.5, 0.5]
    np.testing.assert_allclose(shown(clips, motion, "motion"), expected, atol=1e-5)
    assert shown(clips, 9 * motion, "motion")[:, 2, 8:16, 32:40, 1].max() == pytest.approx(2, 1e-5)


def test_a_frame_whose_motion_is_not_known_shows_none(clips, motion):
    made = shown(clips, motion, "motion", valid=(True, True, False, True))
    np.testing.assert_allclose(made[..., 1:], 0, atol=1e-6)
