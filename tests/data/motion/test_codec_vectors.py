import io

import av
import encoded
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgm_jax.data.decoding import Video
from mgm_jax.data.motion.codec_vectors import (
    RECORD,
    orient,
    rasterise,
    vectors_of,
)
from mgm_jax.data.video.planes import Orientation


def block(left, top, width, height, dx, dy, *, source=-1, scale=4):
    """A record of a block whose displacement from the past is (dx, dy)."""
    sign = 1 if source < 0 else -1
    record = np.zeros((), RECORD)
    record["source"], record["w"], record["h"] = source, width, height
    record["dst_x"], record["dst_y"] = left + width // 2, top + height // 2
    record["src_x"] = record["dst_x"] - sign * int(dx)
    record["src_y"] = record["dst_y"] - sign * int(dy)
    record["motion_scale"] = scale
    # FFmpeg's mestimate leaves rubbish here and sets no scale.
    record["motion_x"] = round(-sign * dx * scale) if scale else 977
    record["motion_y"] = round(-sign * dy * scale) if scale else -977
    return record


# Start and extent of a block along one axis of the 32-pixel tile that it has to itself.
spans = st.sampled_from(
    [(start, size) for size in (8, 16, 24, 32) for start in range(0, 33 - size, 8)]
)


@st.composite
def blocks_in_tiles(draw):
    """Blocks of one frame; those with references on the same side do not overlap."""
    tile = st.tuples(st.sampled_from([-1, 1]), st.integers(-1, 3), st.integers(-1, 3))
    vectors = []
    for source, tile_row, tile_column in draw(st.lists(tile, unique=True, max_size=12)):
        (top, height), (left, width) = draw(spans), draw(spans)
        dx, dy = draw(st.integers(-200, 200)), draw(st.integers(-200, 200))
        left, top = 32 * tile_column + left, 32 * tile_row + top
        scale = draw(st.sampled_from([0, 2, 4]))
        vectors.append(block(left, top, width, height, dx, dy, source=source, scale=scale))
    return np.array(vectors, RECORD)


def paint_naively(vectors, height, width):
    field = np.zeros((-(-height // 8), -(-width // 8), 2), np.float32)
    for past in (False, True):
        for vector in vectors[(vectors["source"] < 0) == past]:
            still = all(vector[f"src_{axis}"] == vector[f"dst_{axis}"] for axis in "xy")
            if past and still and min(vector["w"], vector["h"]) < 16:
                continue  # FFmpeg may have made it up.
            for row in range(field.shape[0]):
                for column in range(field.shape[1]):
                    inside_x = abs(8 * column + 4 - vector["dst_x"]) < vector["w"] / 2
                    inside_y = abs(8 * row + 4 - vector["dst_y"]) < vector["h"] / 2
                    if inside_x and inside_y:
                        shift = np.array([vector["dst_x"], vector["dst_y"]], np.float32)
                        shift -= vector["src_x"], vector["src_y"]
                        field[row, column] = shift if past else -shift
    return field


@settings(max_examples=60, deadline=None)
@given(st.lists(blocks_in_tiles(), min_size=1, max_size=3), st.integers(1, 70), st.integers(1, 90))
def test_paints_exactly_the_blocks_and_the_past_wins(frames, height, width):
    fields = rasterise(frames, height, width)
    assert fields.dtype == np.float32
    for field, vectors in zip(fields, frames, strict=True):
        np.testing.assert_array_equal(field, paint_naively(vectors, height, width))


def test_keeps_the_fraction_of_a_pixel():
    blocks = [block(0, 0, 16, 8, -1.25, 0.5), block(0, 8, 8, 8, 2.75, 0, source=1)]
    vectors = np.array(blocks, RECORD)
    (field,) = rasterise([vectors], 16, 16)
    np.testing.assert_array_equal(field[0], [[-1.25, 0.5], [-1.25, 0.5]])
    np.testing.assert_array_equal(field[1], [[2.75, 0], [0, 0]])


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("flip_x", [False, True])
@pytest.mark.parametrize("flip_y", [False, True])
@settings(max_examples=15, deadline=None)
@given(vectors=blocks_in_tiles())
def test_vectors_turn_as_the_picture_turns(transpose, flip_x, flip_y, vectors):
    height, width = 64, 96
    orientation = Orientation(transpose, flip_x, flip_y)
    (turned,) = rasterise(
        [orient(vectors, orientation, height, width)], *orientation.size(height, width)
    )
    (stored,) = rasterise([vectors], height, width)
    channels = [stored[..., channel] for channel in ((1, 0) if transpose else (0, 1))]
    channels = [channel.T if transpose else channel for channel in channels]
    expected = np.stack(channels, axis=-1)[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
    expected = expected * np.array([-1 if flip_x else 1, -1 if flip_y else 1], np.float32)
    np.testing.assert_array_equal(turned, expected)


def test_records_are_read_as_pyav_reads_them():
    frame = decode_with_vectors(encoded.encode(encoded.moving_square(2)))[1]
    ours, theirs = vectors_of(frame), frame.side_data["MOTION_VECTORS"].to_ndarray()
    assert len(ours) == len(theirs) > 0
    for name in set(RECORD.names) - {"motion", "padding"}:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    pairs = ours["motion"].copy().view(np.int32).reshape(-1, 2)
    np.testing.assert_array_equal(pairs, np.stack([ours["motion_x"], ours["motion_y"]], axis=-1))


def decode_with_vectors(data):
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = {"flags2": "+export_mvs"}
        return list(container.decode(stream))


X264 = "b-adapt=0:scenecut=0:keyint=12:log-level=none:bframes="
FIELDS = {"flags": "+ilme+ildct"}
MPEG = [("mpeg4", "avi"), ("mpeg4", "mp4"), ("mpeg1video", "mpeg"), ("mpeg2video", "mpegts")]
OTHERS = [("msmpeg4v2", "avi"), ("msmpeg4", "avi"), ("wmv1", "asf"), ("wmv2", "asf")]
OTHERS += [("flv", "flv"), ("h261", "avi"), ("h263", "avi"), ("rv10", "rm"), ("rv20", "rm")]
SCROLLS = [  # encoder, container, B-frames in a row, options
    *(("libx264", "mp4", b, {"x264-params": f"{X264}{b}"}) for b in range(4)),
    ("libx264", "matroska", 5, {"x264-params": f"{X264}5:ref=4:partitions=all"}),
    ("libx264", "mpegts", 3, {"x264-params": f"{X264}3:direct=temporal"}),
    ("libx264", "mpegts", 2, {"x264-params": f"{X264}2:interlaced=1"}),
    *((codec, container, b, {}) for codec, container in MPEG for b in range(4)),
    ("mpeg4", "avi", 1, {"flags": "+qpel+mv4"}),
    ("mpeg4", "avi", 1, FIELDS),
    ("mpeg2video", "mpeg", 1, FIELDS),
    *((codec, container, 0, {}) for codec, container in OTHERS),
    ("libx265", "mp4", 2, {"x265-params": "log-level=none:pools=1"}),
    ("libvpx-vp9", "webm", 0, {"deadline": "realtime", "cpu-used": "8"}),
    ("libsvtav1", "mp4", 0, {"preset": "12", "svtav1-params": "lp=1"}),
    ("mjpeg", "avi", 0, {}),
]


@pytest.mark.parametrize(("encoder", "container", "b_frames", "options"), SCROLLS)
def test_a_scroll_is_the_motion_of_every_frame_or_it_is_not_valid(
    encoder, container, b_frames, options
):
    step, interlaced = np.array([2, 2]), "interlaced" in str(options) or options == FIELDS
    pictures = encoded.scroll(27, (2, 2), interlaced)
    pix_fmt = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
    data = encoded.encode(
        pictures,
        encoder,
        container,
        options=options,
        gop=12,
        b_frames=None if encoder.startswith("lib") else b_frames,
        pix_fmt=pix_fmt,
    )
    with Video(data) as video:
        clips = [
            video.read(range(first, 27, stride), motion_fallback_distance=stride)
            for first, stride in ((0, 1), (0, 4), (1, 4), (2, 4), (3, 4))
        ]
    for clip in clips:
        assert clip.motion_source == "codec" or (encoder, container) not in OTHERS
        # Only what comes before the first P-frame has no other frame's motion to take.
        assert clip.motion_valid[b_frames + 1 :].all()
        assert not clip.motion[~clip.motion_valid].any()
        moved = clip.motion[clip.motion_valid][:, 3:-3, 3:-3]
        # The reference is several frames away, or of interlaced frames a half.
        parts = 2 if interlaced else 1
        distance = np.rint(moved.mean(axis=-1) / step[0] * parts) / parts
        true = (np.abs(moved - distance[..., None] * step).max(axis=-1) <= 0.5) & (distance > 0)
        # Some blocks are intra coded, more or fewer by the processor that encodes.
        still = ~moved.any(axis=-1)
        np.testing.assert_array_less(0.4, true.mean(axis=(1, 2)))
        np.testing.assert_array_less(0.6, (true | still).mean(axis=(1, 2)))
