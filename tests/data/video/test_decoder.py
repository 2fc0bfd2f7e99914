import io

import av
import encoded
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgm_jax.data.video.decoder import FrameDecoder, UnexpectedFrameError
from mgm_jax.errors import VideoError
from tests.data.video.test_packets import STRIDE_ALIGNED

OPEN_GOP = {"x264-params": "keyint=8:open-gop=1:bframes=3:b-adapt=0:log-level=none"}


def luma(frame):
    return encoded.stored_planes(frame)[0]


def read(decoder, wanted, needed=(), export_vectors=False):
    start = decoder.index.start_for(min(wanted))
    try:
        return dict(decoder.frames(start, wanted, needed, export_vectors))
    except UnexpectedFrameError:
        return dict(decoder.frames(None, wanted, needed, export_vectors))


FILES = {
    "low delay": ("libx264", "mp4", {"options": encoded.LOW_DELAY}),
    "B-frames": ("libx264", "mp4", {"options": encoded.B_FRAMES}),
    "B-frames in avi": ("libx264", "avi", {"options": encoded.B_FRAMES}),
    "B-frames in flv": ("libx264", "flv", {"options": encoded.B_FRAMES}),
    "raw": ("libx264", "h264", {"options": encoded.B_FRAMES}),
    "open groups": ("libx264", "mp4", {"options": OPEN_GOP}),
    "open groups in ts": ("libx264", "mpegts", {"options": OPEN_GOP}),
    "intra refresh": (
        "libx264",
        "mpegts",
        {"options": {"x264-params": "keyint=8:intra-refresh=1:bframes=0:log-level=none"}},
    ),
    "stride aligned": ("libx264", "mp4", {"options": STRIDE_ALIGNED}),
    "mpeg4 B-frames in avi": ("mpeg4", "avi", {"b_frames": 2, "gop": 8}),
    "mpeg4 B-frames in mp4": ("mpeg4", "mp4", {"b_frames": 2, "gop": 8}),
    "mpeg2": ("mpeg2video", "mpeg", {"b_frames": 2, "gop": 8}),
    "h263 without key flags": ("h263", "avi", {}),
    "hevc open groups": (
        "libx265",
        "mp4",
        {"options": {"x265-params": "log-level=none:keyint=8:open-gop=1:bframes=3:pools=1"}},
    ),
    "vp9": ("libvpx-vp9", "webm", {"options": {"deadline": "realtime", "cpu-used": "8"}, "gop": 8}),
}


@pytest.fixture(scope="module", params=FILES.values(), ids=FILES.keys())
def file(request):
    codec, container, settings_ = request.param
    data = encoded.encode(encoded.moving_square(26), codec, container, **settings_)
    return FrameDecoder(data, "clip"), [luma(frame) for frame in encoded.decode_all(data)]


def test_every_frame_alone_is_what_decoding_in_order_gives(file):
    decoder, expected = file
    assert decoder.num_frames == len(expected)
    for number in range(len(expected)):
        np.testing.assert_array_equal(luma(read(decoder, [number])[number]), expected[number])


def test_some_frames_together_are_what_decoding_in_order_gives(file):
    decoder, expected = file
    for start in (0, 5, 17):
        wanted = range(start, len(expected), 3)
        frames = read(decoder, wanted, export_vectors=True)
        assert list(frames) == sorted(frames)
        for number in wanted:
            np.testing.assert_array_equal(luma(frames[number]), expected[number])


@pytest.fixture(scope="module", params=["mp4", "mpegts"])  # lengths, and start codes
def stride_aligned(request):
    options = {"x264-params": STRIDE_ALIGNED["x264-params"] + ":slices=3"}
    data = encoded.encode(encoded.moving_square(26), container=request.param, options=options)
    return FrameDecoder(data, "clip")


@settings(max_examples=25, deadline=None)
@given(
    wanted=st.sets(st.integers(0, 25), min_size=1),
    needed=st.sets(st.integers(0, 25)),
    from_start=st.booleans(),
)
def test_leaves_out_only_what_nothing_needs(stride_aligned, wanted, needed, from_start):
    wanted = sorted(wanted)
    needed = {number for number in needed if number <= wanted[-1]} | set(wanted)
    start = 0 if from_start else stride_aligned.index.start_for(wanted[0])
    frames = dict(stride_aligned.frames(start, wanted, needed, False))
    # Groups of pictures in the order of decoding. References are the multiples of 4 counted from
    # the key frame, and the frame before the next.
    groups = [[first + n for n in (0, 4, 1, 2, 3, 8, 5, 6, 7, 11, 9, 10)] for first in (0, 12)]
    references = {0, 4, 8, 11, 12, 16, 20, 23, 24, 25}
    expected = set()
    for group in [*groups, [24, 25]]:
        last = max((place for place, number in enumerate(group) if number in needed), default=-1)
        expected |= (references | needed) & set(group[: last + 1])
    first = 0 if from_start else 12 * (wanted[0] // 12)
    assert list(frames) == sorted(n for n in expected if first <= n <= wanted[-1])


def test_up_to_two_missing_frames_repeat_the_last_and_more_are_an_error():
    decoder = FrameDecoder(encoded.encode(encoded.moving_square(10)), "clip")
    frames = dict(decoder.frames(None, range(12), (), False))
    assert frames[11] is frames[10] is frames[9]
    with pytest.raises(VideoError, match=r"clip: .*frame 12, only 10"):
        dict(decoder.frames(None, [12], (), False))


def damaged(data, packets, part=slice(None)):
    """Part of these packets holds rubbish."""
    with av.open(io.BytesIO(data)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(data)
    for position, size in places[packets]:
        start, stop, _ = part.indices(size)
        data[position + start : position + stop] = b"\xff" * (stop - start)
    return bytes(data)


def test_damage_names_the_frame_and_spares_those_before():
    data = damaged(encoded.encode(encoded.moving_square(12)), slice(7, None))
    decoder = FrameDecoder(data, "clip")
    with pytest.raises(VideoError, match="clip: frame 7 of 12"):
        read(decoder, [8])
    assert 6 in read(decoder, [6])


def audio_only():
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=44100)
        for number in range(4):
            samples = np.zeros((1, 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, 1024 * number
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return file.getvalue()


def test_files_that_are_no_videos(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("This is not a video.\n" * 20)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    cases = [
        (text, "opened"),
        (empty, "empty"),
        (b"", "empty"),
        (tmp_path / "gone.mp4", "not exist"),
        (tmp_path, "opened"),
        (audio_only(), "no video stream"),
        (encoded.encode(encoded.moving_square(3))[:-300], "opened"),
    ]
    for source, message in cases:
        with pytest.raises(VideoError, match=f"^the name: .*{message}"):
            FrameDecoder(source, "the name")


@pytest.mark.parametrize(
    ("codec", "container", "options", "packet", "reached"),
    [
        ("libx264", "mp4", {}, 4, range(4, 12)),
        ("libx264", "matroska", {}, 4, range(4, 12)),
        # A P-frame is in the file before the B-frames that precede it.
        ("libx264", "mp4", {"options": encoded.B_FRAMES}, 5, range(5, 12)),
        ("mpeg4", "matroska", {"gop": 12}, 4, range(4, 12)),
        ("mpeg4", "matroska", {"gop": 12, "b_frames": 2}, 4, range(4, 12)),
        ("mpeg2video", "mxf", {"gop": 12, "b_frames": 2}, 4, range(4, 12)),
    ],
)
def test_damage_reaches_the_frames_predicted_from_it(codec, container, options, packet, reached):
    """FFmpeg conceals it, and flags one frame only."""
    data = encoded.encode(encoded.moving_square(26), codec, container, **options)
    whole, data = (
        FrameDecoder(data, "clip"),
        damaged(data, slice(packet, packet + 1), slice(300, 400)),
    )
    decoder, lenient = FrameDecoder(data, "clip"), FrameDecoder(data, "clip", allow_damage=True)
    for number in range(26):
        if number in reached:
            with pytest.raises(VideoError, match=r"clip: frame \d+ is damaged.*data.allow_damage"):
                read(decoder, [number])
        else:
            frame = read(decoder, [number])[number]
            np.testing.assert_array_equal(luma(frame), luma(read(whole, [number])[number]))
        assert number in read(lenient, [number])
