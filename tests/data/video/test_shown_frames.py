"""Files whose packets are not one frame each: placeholders, hidden and packed frames."""

import contextlib
import io
from fractions import Fraction

import av
import encoded
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from hypothesis import given
from hypothesis import strategies as st

from mgm_jax.data.decoding import Video
from mgm_jax.data.video.shown_frames import Holds, packet_reader

FRAMES = 30
ENCODER = b"Lavc" + b".".join(b"%d" % number for number in av.library_versions["libavcodec"])
PLACEHOLDER = b"\x7f"
NOT_CODED = b"\0\0\1\xb6\x50\xcf"  # vop_coded is 0
H264_DELIMITER, H264_END = b"\0\0\0\2\x09\xf0", b"\0\0\0\1\x0a"
HEVC_DELIMITER = b"\0\0\0\3\x46\x01\x50"
SEQUENCE_END = b"\0\0\1\xb7"


def packets_of(data):
    """The packets of a file as (bytes, whether it is a key frame)."""
    with av.open(io.BytesIO(data)) as source:
        return [(bytes(p), p.is_keyframe) for p in source.demux(video=0) if p.size]


def mux(packets, container, template):
    """Packets one after the other in a container, with the stream headers of a file."""
    file = io.BytesIO()
    with (
        av.open(io.BytesIO(template)) as source,
        av.open(file, "w", format=container) as output,
    ):
        like = source.streams.video[0]
        codec = like.codec_context.codec.canonical_name
        if codec in ("av1", "vp8", "vp9"):  # whose decoders do not name an encoder
            stream = output.add_mux_stream(codec, 25, width=like.width, height=like.height)
        else:
            stream = output.add_stream_from_template(like)
        for time, (content, is_key) in enumerate(packets):
            packet = av.Packet(content)
            packet.pts = packet.dts = time
            packet.is_keyframe, packet.time_base = is_key, Fraction(1, 25)
            packet.stream = stream
            output.mux(packet)
    return file.getvalue()


def filled(encoder, container, fillers, user_data=b"", **options):
    """A file with further packets (position, bytes) between its frames.

    `user_data` names an encoder of MPEG-4 whose habits FFmpeg's decoder knows.
    """
    pictures = encoded.scroll(FRAMES, (2, 2))
    first = "avi" if container == "avi" else {"libx265": "mp4"}.get(encoder, "matroska")
    data = encoded.encode(pictures, encoder, first, gop=12, **options)
    packets = packets_of(data)
    if user_data:
        name = user_data.ljust(len(ENCODER), b"\0")
        packets = [(content.replace(ENCODER, name), is_key) for content, is_key in packets]
        data = data.replace(ENCODER, name)
    for position, filler in sorted(fillers, reverse=True):
        packets.insert(position, (filler, False))
    return mux(packets, container, data)


def packed():
    """DivX puts a B-frame into the packet before it, and a placeholder in its place."""
    packets = packets_of(filled("mpeg4", "avi", [], b"DivX503b1393p", b_frames=1))
    for position, (content, _) in enumerate(packets):
        if content.startswith(b"\0\0\1\xb6") and content[4] >> 6 == 2:
            reference, is_key = packets[position - 1]
            packets[position - 1] = reference + content, is_key
            packets[position] = NOT_CODED, False
    return mux(packets, "avi", filled("mpeg4", "avi", [], b"DivX503b1393p", b_frames=1))


def split_av1():
    """Frames that are only references in packets of their own."""
    options = {"preset": "10", "svtav1-params": "lp=1"}
    data = encoded.encode(encoded.scroll(FRAMES, (2, 2)), "libsvtav1", "matroska", options=options)
    with av.open(io.BytesIO(data)) as source:
        stream = source.streams.video[0]
        split = BitStreamFilterContext("av1_frame_split", stream)
        parts = [part for p in source.demux(stream) for part in split.filter(p if p.size else None)]
    return mux([(bytes(part), part.is_keyframe) for part in parts], "nut", data)


def hidden_vp8():
    """A frame that is only a reference: one whose show_frame is 0."""
    data = filled("libvpx", "nut", [], options={"deadline": "realtime", "cpu-used": "8"})
    packets = packets_of(data)
    content, is_key = packets[7]
    packets.insert(7, (bytes([content[0] & ~16]) + content[1:], is_key))
    return mux(packets, "matroska", data)


MIDDLE_AND_END = [(7, PLACEHOLDER), (20, PLACEHOLDER), (20, PLACEHOLDER), (30, PLACEHOLDER)]
H264_EMPTY = [(7, H264_DELIMITER), (15, H264_END), (30, H264_DELIMITER)]
FILES = {
    "XviD placeholders": lambda: filled("mpeg4", "avi", MIDDLE_AND_END, b"XviD0050"),
    "XviD placeholders in mkv": lambda: filled("mpeg4", "matroska", MIDDLE_AND_END, b"XviD0050"),
    "XviD placeholders first": lambda: filled("mpeg4", "avi", 2 * [(0, PLACEHOLDER)], b"XviD0050"),
    "XviD with B-frames": lambda: filled(
        "mpeg4", "avi", 3 * [(0, PLACEHOLDER)], b"XviD0050", b_frames=2
    ),
    "placeholders of others": lambda: filled("mpeg4", "avi", MIDDLE_AND_END),
    "not coded": lambda: filled("mpeg4", "avi", [(7, NOT_CODED), (20, NOT_CODED)]),
    "not coded in mp4": lambda: filled("mpeg4", "mp4", [(7, NOT_CODED), (20, NOT_CODED)]),
    "packed": packed,
    "H.264 in mkv": lambda: filled("libx264", "matroska", H264_EMPTY),
    "H.264 in mp4": lambda: filled("libx264", "mp4", H264_EMPTY),
    "H.264 in flv": lambda: filled("libx264", "flv", H264_EMPTY),
    "HEVC": lambda: filled(
        "libx265",
        "matroska",
        [(7, HEVC_DELIMITER)],
        options={"x265-params": "log-level=none:pools=1:bframes=0"},
    ),
    "MPEG-2": lambda: filled("mpeg2video", "matroska", [(30, SEQUENCE_END)]),
    "VP8 hidden": hidden_vp8,
    "AV1 split": split_av1,
}


@pytest.fixture(params=FILES.values(), ids=FILES.keys())
def data(request):
    return request.param()


def test_the_number_of_frames_is_what_the_decoder_gives(data):
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        expected = []
        for packet in container.demux(stream):
            with contextlib.suppress(av.InvalidDataError):
                expected += stream.decode(packet if packet.size else None)
    assert len(expected) == FRAMES
    with Video(data) as video:
        assert video.num_frames == FRAMES
        clip = video.read(range(FRAMES), motion="none")
        last = video.read([FRAMES - 2, FRAMES - 1], motion="none")
        assert video.num_frames == FRAMES
    for number, frame in enumerate(expected):
        np.testing.assert_array_equal(clip.luma[number], encoded.stored_planes(frame)[0])
    np.testing.assert_array_equal(last.luma, clip.luma[-2:])


def test_vp9_frames_that_are_only_references(real_videos):
    original = (real_videos / "mixed" / "20bn_talk" / "smth-smth-1.webm").read_bytes()
    with av.open(io.BytesIO(original)) as source:
        stream = source.streams.video[0]
        split = BitStreamFilterContext("vp9_superframe_split", stream)
        parts = [part for p in source.demux(stream) for part in split.filter(p if p.size else None)]
    # Other containers than NUT would join them again.
    data = mux([(bytes(part), part.is_keyframe) for part in parts], "nut", original)
    with Video(data) as video, Video(original) as whole:
        assert len(parts) > video.num_frames == whole.num_frames
        one, other = (v.read([46], motion="none").luma for v in (video, whole))
    np.testing.assert_array_equal(one, other)


@given(content=st.binary(min_size=2, max_size=40), filler=st.sampled_from([0, 255]))
def test_damaged_packets_are_not_taken_for_empty_ones(content, filler):
    for codec in ("h264", "hevc", "mpeg2video", "mpeg4", "vp8", "vp9", "av1"):
        for length_size in (0, 4):
            reader = packet_reader(codec, "matroska,webm", length_size)
            assert reader(bytes([filler]) * len(content)) is not Holds.NOTHING
            reader(content)  # and no error
