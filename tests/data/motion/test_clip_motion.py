import encoded
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import transcode
from mgm_jax.data.motion.block_matching import estimate
from mgm_jax.data.motion.clip_motion import ClipMotion
from mgm_jax.data.motion.codec_vectors import rasterise, vectors_of
from mgm_jax.data.video.decoder import FrameDecoder
from mgm_jax.data.video.planes import Orientation
from mgm_jax.data.video.reader import Video

STEP = (2, 0)


def rgb_frames(num_frames):
    """RGB frames of a textured square that moves by STEP over a still background."""
    return [
        np.ascontiguousarray(np.repeat(encoded.stored_planes(frame)[0][..., None], 3, axis=-1))
        for frame in encoded.moving_square(num_frames, STEP)
    ]


def in_square(clip, slot, number):
    """Median motion well inside the moving square."""
    top, left = encoded.square_corner(number, STEP)
    inside = clip.motion[slot, top // 8 + 2 : top // 8 + 6, left // 8 + 2 : left // 8 + 6]
    return np.median(inside, axis=(0, 1)).tolist()


def read_low_delay(numbers, **settings):
    data = transcode.encode_h264(rgb_frames(25), 25, transcode.PROFILES["low_delay"])
    with Video(data) as video:
        return video.read(numbers, **settings)


@pytest.mark.parametrize("motion", ["codec", "estimate"])
def test_low_delay_adds_the_frames_in_between(motion):
    numbers = [2, 6, 10, 14, 22]
    sampled = read_low_delay(numbers, motion=motion)
    accumulated = read_low_delay(numbers, motion=motion, motion_frames="accumulated")
    np.testing.assert_array_equal(sampled.luma, accumulated.luma)
    # The square turns back at frame 12.
    assert [in_square(sampled, slot, number) for slot, number in enumerate(numbers)] == [
        [2, 0],
        [2, 0],
        [2, 0],
        [-2, 0],
        [-2, 0],
    ]
    of_frames = [in_square(accumulated, slot, number) for slot, number in enumerate(numbers)]
    np.testing.assert_allclose(of_frames, [[2, 0], [8, 0], [8, 0], [0, 0], [-16, 0]], atol=0.3)
    assert accumulated.motion_valid.all()


@pytest.mark.parametrize("motion", ["codec", "estimate"])
def test_is_the_sum_of_all_maps(motion):
    everything = read_low_delay(range(25), motion=motion)
    numbers = [20, 3, 9, 3, 14]
    clip = read_low_delay(numbers, motion=motion, motion_frames="accumulated")
    np.testing.assert_array_equal(clip.motion[1], everything.motion[3])
    np.testing.assert_array_equal(clip.motion[3], clip.motion[1])
    for slot, since, until in ((2, 3, 9), (4, 9, 14), (0, 14, 20)):  # 12 is intra coded
        expected = everything.motion[since + 1 : until + 1].sum(axis=0)
        np.testing.assert_allclose(clip.motion[slot], expected, atol=1e-4)


def test_stride_aligned_counts_nothing_twice():
    data = transcode.encode_h264(rgb_frames(25), 25, transcode.PROFILES["stride_aligned"])
    with Video(data) as video:
        sampled = video.read([0, 4, 8, 12], motion="codec")
        accumulated = video.read([0, 4, 8, 12], motion="codec", motion_frames="accumulated")
        twos = video.read([4, 6, 8, 10], motion="codec", motion_frames="accumulated")
        eights = video.read([4, 12], motion="codec", motion_frames="accumulated")
    assert [in_square(sampled, slot, 4 * slot) for slot in (1, 2, 3)] == [[8, 0]] * 3
    np.testing.assert_array_equal(accumulated.motion, sampled.motion)
    np.testing.assert_array_equal(accumulated.motion_valid, [False, True, True, True])
    # Half of the way to the next reference each, whether the frames are references or not.
    np.testing.assert_array_equal(twos.motion[1], accumulated.motion[2] / 2)
    np.testing.assert_array_equal(twos.motion[2], accumulated.motion[2] / 2)
    np.testing.assert_array_equal(twos.motion[3], accumulated.motion[3] / 2)
    np.testing.assert_array_equal(eights.motion[1], accumulated.motion[2:].sum(axis=0))


def test_a_key_frame_goes_on_with_the_speed_before():
    decoder = FrameDecoder(encoded.encode(encoded.moving_square(14)), "clip")  # 12 is intra coded
    frames = dict(decoder.frames(0, range(14), (), True))
    own = {number: rasterise([vectors_of(frames[number])], 144, 176)[0] for number in (11, 13)}
    field, valid = gather(frames, [11, 13])
    np.testing.assert_allclose(field[1], own[11] + own[13], atol=1e-4)
    assert valid.all()


def test_is_valid_if_any_frame_in_between_is():
    decoder = FrameDecoder(encoded.encode(encoded.moving_square(14)), "clip")
    frames = dict(decoder.frames(0, range(14), (), True))
    late = {number: frame for number, frame in frames.items() if number >= 12}
    field, valid = gather(late, [12, 13])
    np.testing.assert_array_equal(valid, [False, True])
    np.testing.assert_array_equal(field[1], rasterise([vectors_of(frames[13])], 144, 176)[0])
    _, valid = gather({0: frames[0], 12: frames[12]}, [0, 12])
    assert not valid.any()
    _, valid = gather(frames, [0, 1], source="none")
    assert not valid.any()


def gather(frames, wanted, source="codec"):
    motion = ClipMotion(wanted, Orientation(), 144, 176, source, "accumulated")
    for number, frame in frames.items():
        motion.add(number, frame)
    return motion.finish()


def test_estimates_only_between_neighbours():
    frames = dict(enumerate(encoded.moving_square(5)))
    for number, frame in frames.items():
        frame.pts = number
    field, valid = gather(frames, [1, 4], "estimate")
    expected = [rasterise([estimate(frames[n - 1], frames[n])], 144, 176)[0] for n in (2, 3, 4)]
    np.testing.assert_allclose(field[1], sum(expected), atol=1e-4)
    del frames[3]
    field, valid = gather(frames, [1, 4], "estimate")
    np.testing.assert_array_equal(field[1], expected[0])
    assert valid.all()


@pytest.fixture(scope="module")
def file_with_b_frames():
    with Video(encoded.encode(encoded.moving_square(26), options=encoded.B_FRAMES)) as video:
        yield video


@settings(max_examples=20, deadline=None)
@given(wanted=st.sets(st.integers(0, 25), min_size=2, max_size=8))
def test_displacements_add_up_over_any_frames(file_with_b_frames, wanted):
    """Leaving out a frame in the middle gives the next one the displacement of both."""
    wanted = sorted(wanted)
    read = file_with_b_frames.read
    clip = read(wanted, motion="codec", motion_frames="accumulated")
    ends = read([wanted[0], wanted[-1]], motion="codec", motion_frames="accumulated")
    np.testing.assert_allclose(ends.motion[1], clip.motion[1:].sum(axis=0), atol=1e-3)
    assert ends.motion_valid[1] == clip.motion_valid[1:].any()


def test_b_frames_move_as_the_scene_does():
    frames = encoded.moving_square(13, STEP)
    with Video(encoded.encode(frames, options=encoded.B_FRAMES)) as video:
        clip = video.read(range(0, 12, 2), motion="codec", motion_frames="accumulated")
    for slot in range(1, 6):
        np.testing.assert_allclose(in_square(clip, slot, 2 * slot), [4, 0], atol=0.5)


def test_a_file_that_ends_in_b_frames_goes_on_with_its_speed():
    data = encoded.encode(encoded.moving_square(24, STEP), options=encoded.B_FRAMES)
    frames = dict(FrameDecoder(data, "clip").frames(0, range(24), (), True))
    references = [number for number, frame in frames.items() if frame.pict_type != 3]
    end = references[-1]
    cut = {number: frame for number, frame in frames.items() if number < end}
    field, valid = gather(cut, [references[-2], end - 1])
    assert valid.all()
    span = references[-2] - references[-3]
    own = rasterise([vectors_of(frames[references[-2]])], 144, 176)[0]
    np.testing.assert_allclose(field[1], own * (end - 1 - references[-2]) / span, atol=1e-3)


def test_real_videos_add_up(real_videos):
    for name in ("R6llTwEh07w.mp4", "v_SoccerJuggling_g23_c01.avi"):
        with Video(real_videos / "mixed" / "torchvision_assets" / name) as video:
            options = {"motion": "codec", "motion_frames": "accumulated"}
            fours, all_frames = (video.read(range(20, 61, stride), **options) for stride in (4, 1))
        expected = all_frames.motion[1:].reshape(10, 4, *all_frames.motion.shape[1:]).sum(axis=1)
        np.testing.assert_allclose(fours.motion[1:], expected, atol=1e-3)
        assert fours.motion_valid.all()
        assert np.abs(fours.motion).max() > 4
