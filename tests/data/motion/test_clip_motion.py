import encoded
import numpy as np
import pytest

from data_prep import transcode
from mgm_jax.data.motion.block_matching import estimate
from mgm_jax.data.motion.clip_motion import ClipMotion
from mgm_jax.data.motion.codec_vectors import rasterise, vectors_of
from mgm_jax.data.video.decoder import FrameDecoder
from mgm_jax.data.video.planes import Orientation
from mgm_jax.data.video.reader import Video

STEP = (2, 0)


@pytest.mark.parametrize(
    ("profile", "numbers", "expected"),
    [("low_delay", [2, 6, 14], [2, 2, -2]), ("stride_aligned", [4, 8, 12], [8, 8, 8])],
)
def test_motion_of_a_prepared_video_is_that_of_its_square(profile, numbers, expected):
    frames = [
        np.ascontiguousarray(np.repeat(encoded.stored_planes(frame)[0][..., None], 3, axis=-1))
        for frame in encoded.moving_square(25, STEP)  # It turns back at frame 12.
    ]
    with Video(transcode.encode_h264(frames, 25, transcode.PROFILES[profile])) as video:
        clip = video.read([0, *numbers], motion="codec")
    np.testing.assert_array_equal(clip.motion_valid, [False, True, True, True])
    for slot, (number, dx) in enumerate(zip(numbers, expected, strict=True), 1):
        top, left = encoded.square_corner(number, STEP)
        inside = clip.motion[slot, top // 8 + 2 : top // 8 + 6, left // 8 + 2 : left // 8 + 6]
        np.testing.assert_array_equal(np.median(inside, axis=(0, 1)), [dx, 0])


def gather(frames, wanted, source="codec"):
    motion = ClipMotion(wanted, Orientation(), 144, 176, source)
    for number, frame in frames.items():
        motion.add(number, frame)
    return motion.finish()


@pytest.fixture(scope="module")
def frames():
    decoder = FrameDecoder(encoded.encode(encoded.moving_square(14)), "clip")  # 12 is intra coded
    return dict(decoder.frames(0, range(14), (), True))


def test_an_i_frame_reuses_the_motion_of_the_last_frame_decoded_before_it(frames):
    field, valid = gather(frames, [11, 12])
    np.testing.assert_array_equal(field[0], rasterise([vectors_of(frames[11])], 144, 176)[0])
    np.testing.assert_array_equal(field[1], field[0])
    assert valid.all()


def test_frames_without_motion_are_not_valid(frames):
    late = {number: frame for number, frame in frames.items() if number >= 12}
    field, valid = gather(late, [12, 13])
    np.testing.assert_array_equal(valid, [False, True])
    assert not field[0].any()
    assert not gather(frames, [0, 1], source="none")[1].any()


def test_estimates_only_between_neighbours():
    frames = dict(enumerate(encoded.moving_square(5)))
    for number, frame in frames.items():
        frame.pts = number
    del frames[3]
    field, valid = gather(frames, [2, 4], "estimate")
    np.testing.assert_array_equal(
        field[0], rasterise([estimate(frames[1], frames[2])], 144, 176)[0]
    )
    np.testing.assert_array_equal(valid, [True, False])
