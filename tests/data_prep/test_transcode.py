import io

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.transcode import PROFILES, EncodingProfile, encode_h264, parse_profile

INTRA, FORWARD, BOTH = (av.video.frame.PictureType[name] for name in "IPB")
STEPS = np.array([[3, 0], [0, 2], [-2, 1], [4, -3], [1, 1], [-3, -2], [0, 4], [2, -2]])


def walk(num_frames):
    """Window positions with a different step each time."""
    steps = STEPS[np.arange(num_frames - 1) % len(STEPS)]
    path = np.concatenate([[[0, 0]], np.cumsum(steps, 0)])
    return path - path.min(0)


def moved(positions, seed=0, size=64):
    """A window that moves over a texture, so the picture moves the other way."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (20, 20, 3)).repeat(8, 0).repeat(8, 1)
    fine = rng.integers(0, 256, (40, 40, 3)).repeat(4, 0).repeat(4, 1)
    picture = ((coarse + fine) // 2).astype(np.uint8)
    return np.stack([picture[y : y + size, x : x + size] for x, y in positions])


def decode(video, skip_frame="DEFAULT"):
    """Picture type, vectors (or None) and index of every decoded frame."""
    with av.open(io.BytesIO(video)) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = {"flags2": "+export_mvs"}
        stream.codec_context.skip_frame = skip_frame
        for frame in container.decode(stream):
            vectors = frame.side_data.get("MOTION_VECTORS")
            number = round(frame.pts * frame.time_base * stream.average_rate)
            yield (
                av.video.frame.PictureType(frame.pict_type),
                None if vectors is None else vectors.to_ndarray(),
                number,
            )


def displacement(vectors):
    """Median displacement of the blocks from the past frame, in pixels."""
    return np.median([vectors["dst_x"] - vectors["src_x"], vectors["dst_y"] - vectors["src_y"]], 1)


def test_low_delay_has_vectors_from_the_previous_frame():
    path = walk(30)
    frames = list(decode(encode_h264(moved(path), 25.0, PROFILES["low_delay"])))
    assert [number for *_, number in frames] == list(range(30))
    assert [kind for kind, *_ in frames] == [INTRA if t % 12 == 0 else FORWARD for t in range(30)]
    for kind, vectors, t in frames:
        assert (vectors is None) == (kind == INTRA)
        if vectors is not None:
            assert set(vectors["source"]) == {-1}
            np.testing.assert_array_equal(displacement(vectors), path[t - 1] - path[t])


def test_low_delay_has_one_reference_frame():
    """Two pictures take turns; a second reference frame would show each of them for free."""
    one, other = (moved([[0, 0]], seed)[0] for seed in (1, 2))
    second = one.copy()
    second[16:32, 16:32] = other[16:32, 16:32]
    video = encode_h264([one, second] * 6, 25.0, PROFILES["low_delay"])
    with av.open(io.BytesIO(video)) as container:
        sizes = [packet.size for packet in container.demux(video=0) if packet.size]
    assert min(sizes[2:]) > 0.5 * sizes[1]


@settings(max_examples=8, deadline=None)
@given(stride=st.sampled_from([2, 3, 4, 8]), num_frames=st.integers(1, 100))
def test_stride_aligned_needs_only_the_multiples_of_the_stride(stride, num_frames):
    video = encode_h264(moved(walk(num_frames)), 25.0, EncodingProfile(stride))
    kinds = {t: kind for kind, _, t in decode(video)}
    assert list(kinds) == list(range(num_frames))
    assert BOTH not in {kinds[t] for t in range(0, num_frames, stride)}
    kept = {t: vectors for _, vectors, t in decode(video, skip_frame="NONREF")}
    # Besides the multiples only the last frame of a group of pictures, or of the video.
    closing = {t for t in range(num_frames) if (t + 1) % (stride * 12) == 0 or t == num_frames - 1}
    assert set(range(0, num_frames, stride)) <= set(kept)
    assert set(kept) <= set(range(0, num_frames, stride)) | closing
    for t in range(stride, num_frames, stride):
        if kinds[t] == FORWARD:
            assert set(kept[t]["source"]) == {-1}


def test_stride_aligned_vectors_come_from_the_previous_sampled_frame():
    stride, num_frames = 4, 25
    path = np.cumsum(np.tile([[1, 0], [1, 1], [0, 1], [0, 1], [1, 0]], (5, 1)), 0)
    frames = list(decode(encode_h264(moved(path), 25.0, PROFILES["stride_aligned"]), "NONREF"))
    assert [t for *_, t in frames] == list(range(0, num_frames, stride))
    for _, vectors, t in frames[1:]:
        np.testing.assert_array_equal(displacement(vectors), path[t - stride] - path[t])


def test_a_scene_cut_does_not_break_the_alignment():
    frames = np.concatenate([moved(walk(18), seed=1), moved(walk(18), seed=2)])
    kinds = [kind for kind, *_ in decode(encode_h264(frames, 25.0, PROFILES["stride_aligned"]))]
    assert all(kind in (INTRA, FORWARD) for kind in kinds[::4])
    assert all(kind == BOTH for t, kind in enumerate(kinds[:-1]) if t % 4)


def test_colours_are_bt601_in_limited_range():
    rgb = np.random.default_rng(0).integers(0, 256, (6, 3)).astype(np.uint8)
    frames = np.broadcast_to(rgb[:, None, None], (6, 32, 48, 3)).copy()
    video = encode_h264(frames, 25.0, PROFILES["low_delay"])
    red, green, blue = rgb.T / 255.0
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    expected = [
        16 + 219 * luma,
        128 + 224 * (blue - luma) / (2 - 2 * 0.114),
        128 + 224 * (red - luma) / (2 - 2 * 0.299),
    ]
    with av.open(io.BytesIO(video)) as container:
        context = container.streams.video[0].codec_context
        # 5 and 6 are BT.601's matrix, 1 is the limited range.
        assert context.colorspace in (5, 6)
        assert context.color_range == 1
        planes = [
            [np.frombuffer(plane, np.uint8)[: plane.width].mean() for plane in frame.planes]
            for frame in container.decode(video=0)
        ]
    np.testing.assert_allclose(np.transpose(planes), expected, atol=1.5)


@pytest.mark.parametrize("stride", [1, 4])
def test_equal_frames_give_equal_bytes(stride):
    frames = moved(walk(33))
    random = np.random.default_rng(0)
    videos = set()
    for _ in range(12):
        # The encoder may read memory that it has not written: fill it with garbage.
        garbage = [random.bytes(size) for size in random.integers(1000, 300_000, 40)]
        del garbage
        videos.add(encode_h264(frames, 25.0, EncodingProfile(stride=stride)))
    assert len(videos) == 1


def test_profiles_are_found_by_their_labels():
    for profile in (*PROFILES.values(), *(EncodingProfile(stride) for stride in range(1, 18))):
        assert parse_profile(profile.label) == profile
    assert parse_profile("stride_aligned") == EncodingProfile(stride=4)
    for label in (
        "",
        "hevc",
        "low_delay:2",
        "stride_aligned:",
        *map("stride_aligned:{}".format, (1, 18)),
    ):
        with pytest.raises(ValueError, match=f"'{label}'"):
            parse_profile(label)
