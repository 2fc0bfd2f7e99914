import io

import av
import encoded
import numpy as np
import pytest

from data_prep.frames import Downscaler, SegmentFrames
from mgm_jax.errors import VideoError


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [
        ((144, 176), 256, (144, 176)),  # nothing is enlarged
        ((144, 176), 72, (72, 88)),
        ((176, 144), 72, (88, 72)),
        ((100, 178), 50, (50, 88)),  # 89 is odd
        ((101, 177), 256, (100, 176)),
    ],
)
def test_sizes(size, short_side, expected):
    frame = av.VideoFrame(size[1], size[0], "yuv420p")
    scaler = Downscaler(frame, short_side, "x")
    assert scaler.size == expected
    scaled = scaler.scale(frame)
    assert (scaled.height, scaled.width, scaled.format.name) == (*expected, "yuv420p")


def test_an_odd_size_loses_its_last_row_and_column_only():
    picture = encoded.texture(101, 177)
    frame = av.VideoFrame.from_ndarray(picture, format="gray")
    frame = frame.reformat(format="yuv420p", dst_color_range="JPEG", src_color_range="JPEG")
    luma = encoded.stored_planes(Downscaler(frame, 0, "x").scale(frame))[0]
    np.testing.assert_array_equal(luma, picture[:100, :176])


def test_frames_that_change_size_become_like_the_first_and_tiny_ones_are_named():
    first = encoded.moving_square(1)[0]
    second = encoded.moving_square(1, height=288, width=352)[0]
    scaled = Downscaler(first, 0, "x").scale(second)
    assert (scaled.height, scaled.width) == (144, 176)
    with pytest.raises(VideoError, match="1x9 pixels"):
        Downscaler(av.VideoFrame(1, 9, "yuv420p"), 0, "x")


def test_a_segment_of_a_long_video(tmp_path):
    pictures = encoded.moving_square(24) * 10
    data = encoded.encode(pictures[:240], options=encoded.B_FRAMES)
    path = tmp_path / "film.mp4"
    path.write_bytes(data)
    everything = encoded.decode_all(data)
    with SegmentFrames(str(path), "film", 3.5, 6.5) as frames:
        read = list(frames.read())
    assert frames.times == pytest.approx(np.arange(88, 163) / 25)
    assert frames.stats.describe_losses() is None
    for frame, expected in zip(read, everything[88:163], strict=True):
        np.testing.assert_array_equal(
            encoded.stored_planes(frame)[0], encoded.stored_planes(expected)[0]
        )
    with SegmentFrames(str(path), "film", 8.6, 11.6) as frames:
        assert len(list(frames.read())) == 25
    assert frames.stats.describe_losses() == "49 of 74 frames are missing"
    with SegmentFrames(str(path), "film", 19.0, 22.0) as frames:
        assert list(frames.read()) == []


def test_seconds_count_from_the_first_frame(tmp_path):
    """The time stamps of some films do not start at 0."""

    def late(number, packet):
        packet.pts += 10 * packet.duration
        packet.dts += 10 * packet.duration
        return packet

    data = encoded.remux(encoded.encode(encoded.moving_square(75)), "matroska", late)
    path = tmp_path / "film.mkv"
    path.write_bytes(data)
    with av.open(io.BytesIO(data)) as container:
        assert container.streams.video[0].start_time > 0
    with SegmentFrames(str(path), "film", 1.0, 2.0) as frames:
        assert len(list(frames.read())) == 25
    assert frames.times[0] == pytest.approx(1.0, abs=0.002)
