import numpy as np

from mgm_jax.pictures import motion_colours


def test_the_colour_wheel_has_the_published_directions():
    east, south, west, north = [(1, 0), (0, 1), (-1, 0), (0, -1)]
    colours = motion_colours.motion_to_colours(np.array([east, south, west, north], np.float32), 1)
    # colorwheel.m of Baker et al., at angles 0, 90, 180 and 270 degrees clockwise.
    expected = [(255, 0, 0), (255, 234, 0), (0, 197, 255), (103, 0, 255)]
    np.testing.assert_allclose(colours, expected, atol=12)


def test_the_scale_is_round_and_ignores_outliers_and_invalid_frames():
    motion = np.zeros((2, 20, 20, 2), np.float32)
    motion[0, :, :10, 0] = 3.7
    motion[0, 0, 0, 1] = 90
    motion[1] = 1000
    valid = np.array([True, False])
    assert motion_colours.motion_scale(motion, valid) == 4
    assert motion_colours.motion_scale(motion * 10, valid) == 40
    assert motion_colours.motion_scale(motion * 0, valid) == 1


def test_frames_without_motion_are_hatched_and_others_show_their_cells():
    motion = np.zeros((2, 2, 3, 2), np.float32)
    motion[:, 1, 2] = (1, 0)
    drawn = motion_colours.motion_pictures(motion, np.array([True, False]), (20, 30), 1.0)
    assert (drawn[0, 10:, 20:] == (255, 0, 0)).all()
    assert (drawn[0, :10] == 255).all()
    assert len(np.unique(drawn[1])) == 2
    assert (drawn[1] == drawn[1, ..., :1]).all()
