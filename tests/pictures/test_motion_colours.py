import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mgm_jax.pictures import motion_colours


def test_the_colour_wheel_has_the_published_directions():
    east, south, west, north = [(1, 0), (0, 1), (-1, 0), (0, -1)]
    colours = motion_colours.motion_to_colours(np.array([east, south, west, north], np.float32), 1)
    # colorwheel.m of Baker et al., at angles 0, 90, 180 and 270 degrees clockwise.
    expected = [(255, 0, 0), (255, 234, 0), (0, 197, 255), (103, 0, 255)]
    np.testing.assert_allclose(colours, expected, atol=12)


def test_the_colour_wheel_is_continuous_and_its_directions_are_distinct():
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    vectors = np.stack([np.cos(angles), np.sin(angles)], -1) * 0.999
    colours = motion_colours.motion_to_colours(vectors, 1).astype(int)
    steps = np.abs(colours - np.roll(colours, 1, axis=0)).max(axis=1)
    assert steps.max() <= 8
    sectors = colours[::30]
    distance = np.abs(sectors[:, None] - sectors[None]).sum(-1)
    assert distance[~np.eye(len(sectors), dtype=bool)].min() > 25


@given(st.floats(0, 2 * np.pi), st.floats(0.05, 0.9))
@settings(max_examples=50, deadline=None)
def test_longer_motion_is_further_from_white(angle, length):
    direction = np.array([np.cos(angle), np.sin(angle)])
    vectors = np.stack([0 * direction, length * direction, (length + 0.1) * direction])
    still, short, long = motion_colours.motion_to_colours(vectors, 1).astype(int).sum(-1)
    assert still == 3 * 255
    assert still > short > long


def test_the_scale_is_round_and_ignores_stray_vectors_and_invalid_frames():
    motion = np.zeros((2, 20, 20, 2), np.float32)
    motion[0, :, :10, 0] = 3.7
    motion[0, 0, 0, 1] = 90
    motion[1] = 1000
    valid = np.array([True, False])
    assert motion_colours.motion_scale(motion, valid) == 4
    assert motion_colours.motion_scale(motion * 10, valid) == 40
    assert motion_colours.motion_scale(motion * 0, valid) == 1


def test_invalid_motion_maps_are_hatched_and_valid_ones_keep_their_cells():
    motion = np.zeros((2, 2, 3, 2), np.float32)
    motion[:, 1, 2] = (1, 0)
    drawn = motion_colours.motion_pictures(motion, np.array([True, False]), (20, 30), 1.0)
    assert (drawn[0, 10:, 20:] == (255, 0, 0)).all()
    assert (drawn[0, :10] == 255).all()
    assert len(np.unique(drawn[1])) == 2
    assert (drawn[1] == drawn[1, ..., :1]).all()


def test_the_legend_shows_what_the_maps_show():
    wheel = motion_colours.colour_wheel(64).astype(int)
    assert (wheel[0, 0] == 255).all()
    assert np.abs(wheel[32, 62] - (255, 0, 0)).max() < 30
    vector = np.array([(10.5 / 32, 20.5 / 32)])
    expected = motion_colours.motion_to_colours(vector, 1.0)[0].astype(int)
    assert np.abs(wheel[52, 42] - expected).max() <= 4
