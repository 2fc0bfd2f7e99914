import encoded
import numpy as np
import pytest

from data_prep import transcode
from mgm_jax.data.clip_builder import ClipBuilder
from mgm_jax.data.decoding import Video
from mgm_jax.data.motion.codec_vectors import rasterise, vectors_of
from mgm_jax.data.video.decoder import FrameDecoder
from mgm_jax.data.video.planes import FrameLayout, Window


@pytest.fixture(scope="module")
def frames():
    """Frames 0 to 13 with vectors; 0 and 12 are intra coded."""
    decoder = FrameDecoder(encoded.encode(encoded.moving_square(14)), "clip")
    return dict(decoder.frames(0, range(14), (), True))


def build(frames, numbers, source="codec", shown=None):
    layout = FrameLayout.of_frame(frames[0])
    builder = ClipBuilder(numbers, layout, source, [Window()], "h264")
    for number in shown or frames:
        builder.add(number, frames[number])
    return builder


def own_field(frame):
    return rasterise([vectors_of(frame)], frame.height, frame.width)[0]


def test_predicted_frames_without_vectors_take_those_of_an_earlier_frame(frames):
    decoder = FrameDecoder(encoded.encode(encoded.moving_square(4)), "clip")
    bare = dict(decoder.frames(0, range(4), (), False))
    clip = build({**bare, 2: frames[2]}, [1, 2, 3]).finish()
    np.testing.assert_array_equal(clip.motion_valid, [False, True, True])
    np.testing.assert_array_equal(clip.motion[2], own_field(frames[2]))


def test_does_not_estimate_across_a_gap(frames):
    clip = build(frames, [5, 6], "estimate", shown=[3, 5, 6]).finish()
    np.testing.assert_array_equal(clip.motion_valid, [False, True])


@pytest.mark.parametrize(
    ("profile", "numbers", "expected"),
    [("low_delay", [2, 6, 14], [2, 2, -2]), ("stride_aligned", [4, 8, 12], [8, 8, 8])],
)
def test_motion_of_a_prepared_video_is_that_of_its_square(profile, numbers, expected):
    frames = [
        np.ascontiguousarray(np.repeat(encoded.stored_planes(frame)[0][..., None], 3, axis=-1))
        for frame in encoded.moving_square(25, (2, 0))  # It turns back at frame 12.
    ]
    with Video(transcode.encode_h264(frames, 25, transcode.PROFILES[profile])) as video:
        clip = video.read([0, *numbers], motion="codec")
    np.testing.assert_array_equal(clip.motion_valid, [False, True, True, True])
    for slot, (number, dx) in enumerate(zip(numbers, expected, strict=True), 1):
        top, left = encoded.square_corner(number, (2, 0))
        inside = clip.motion[slot, top // 8 + 2 : top // 8 + 6, left // 8 + 2 : left // 8 + 6]
        np.testing.assert_array_equal(np.median(inside, axis=(0, 1)), [dx, 0])
