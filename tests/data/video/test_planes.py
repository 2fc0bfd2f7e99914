import av
import encoded
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgm_jax.data.video.planes import (
    FrameLayout,
    Orientation,
    PlaneReader,
    Window,
    is_full_range,
    to_planar_420,
    yuv_to_rgb,
)

# As FFmpeg numbers them.
COLOUR_SPACES = {
    "bt709": 1,
    "fcc": 4,
    "bt470bg": 5,
    "smpte170m": 6,
    "smpte240m": 7,
    "bt2020nc": 9,
    "unspecified": 2,
}


def patches(pix_fmt="yuv444p", colour_space=2, full=False):
    """A frame of 16x16 patches of colours that no conversion clips."""
    rng = np.random.default_rng(0)
    frame = av.VideoFrame(64, 48, "yuvj444p" if full else "yuv444p")
    for plane in frame.planes:
        patch = rng.integers(90, 160, (3, 4), np.uint8)
        values = np.zeros((plane.height, plane.line_size), np.uint8)
        values[:, :64] = np.kron(patch, np.ones((16, 16), np.uint8))
        plane.update(values.tobytes())
    frame.color_range = 2 if full else 1
    if pix_fmt != "yuv444p":
        # Bilinear spreads chroma over the patches' edges only.
        frame = frame.reformat(
            format=pix_fmt, src_color_range=frame.color_range, dst_color_range=frame.color_range
        )
    frame.colorspace, frame.color_range = colour_space, 2 if full else 1
    return frame


def to_rgb(frame):
    """RGB 0..255 by our matrix from the converted planes, chroma repeated."""
    planes = encoded.stored_planes(to_planar_420(frame))
    height, width = planes[0].shape
    y, x = np.mgrid[:height, :width]
    yuv1 = np.stack(
        [planes[0], planes[1][y // 2, x // 2], planes[2][y // 2, x // 2], np.ones_like(planes[0])],
        axis=-1,
    )
    return np.clip(yuv1.astype(np.float32) @ yuv_to_rgb(frame).T, 0, 1) * 255


def patch_centres(rgb):
    return rgb[8::16, 8::16].astype(float)


@pytest.mark.parametrize("colour_space", COLOUR_SPACES.values(), ids=COLOUR_SPACES.keys())
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("pix_fmt", ["yuv444p", "yuv420p", "yuv422p", "yuv444p12le"])
def test_matrix_agrees_with_ffmpeg(pix_fmt, colour_space, full):
    frame = patches(pix_fmt, colour_space, full)
    assert is_full_range(frame) == full
    theirs = patches("yuv444p", colour_space, full).to_ndarray(format="rgb24")
    np.testing.assert_allclose(patch_centres(to_rgb(frame)), patch_centres(theirs), atol=2)


def test_colour_spaces_that_the_scaler_refuses_can_be_scaled():
    frame = patches("yuv420p", colour_space=10)
    half = to_planar_420(frame, (24, 32))
    assert (half.height, half.width) == (24, 32)
    for plane, whole in zip(encoded.stored_planes(half), encoded.stored_planes(frame), strict=True):
        assert np.abs(plane.mean() - whole.mean()) < 1
    np.testing.assert_array_equal(yuv_to_rgb(frame), yuv_to_rgb(patches("yuv420p", colour_space=9)))


@pytest.mark.parametrize("pix_fmt", ["yuvj420p", "yuvj422p", "yuvj444p"])
def test_jpeg_formats_are_full_range_without_a_tag(pix_fmt):
    tagged = patches(pix_fmt.replace("j", ""), full=True)
    frame = patches(pix_fmt, full=True)
    frame.color_range = 0
    assert is_full_range(frame)
    np.testing.assert_allclose(to_rgb(frame), to_rgb(tagged), atol=0.01)


@pytest.mark.parametrize("pix_fmt", ["rgb24", "bgra", "gbrp", "gray", "gray10le"])
def test_rgb_and_grey_sources(pix_fmt):
    rgb = patches().to_ndarray(format="rgb24")
    if pix_fmt.startswith("gray"):
        rgb = rgb[..., :1].repeat(3, axis=-1)
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pix_fmt)
    np.testing.assert_allclose(patch_centres(to_rgb(frame)), patch_centres(rgb), atol=3)


def test_grey_of_limited_range_stays_so():
    luma = np.linspace(16, 235, 64).astype(np.uint8)[None].repeat(48, axis=0)
    frame = av.VideoFrame.from_ndarray(luma, format="gray")
    frame.color_range = 1
    np.testing.assert_allclose(to_rgb(frame)[0, [0, -1]], [[0] * 3, [255] * 3], atol=1)
    assert encoded.stored_planes(to_planar_420(frame, (24, 64)))[0].max() == 235


@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize("rotation", [0, 10, 80, 90, 170, 180, -90, -100])
def test_orientation_of_the_display_matrix(rotation, hflip):
    frames = encoded.moving_square(1)
    data = encoded.encode(frames, rotation=rotation, hflip=hflip)
    (frame,) = encoded.decode_all(data)
    luma = encoded.stored_planes(frame)[0]
    expected = np.rot90(luma, round(rotation / 90))  # both count counter-clockwise
    expected = expected[:, ::-1] if hflip else expected
    orientation = Orientation.of_frame(frame)
    np.testing.assert_array_equal(orientation.turn(luma), expected)
    assert orientation.size(*luma.shape) == expected.shape


orientations = st.builds(Orientation, st.booleans(), st.booleans(), st.booleans())
even = st.integers(-20, 40).map(lambda n: 2 * n)


@settings(max_examples=60, deadline=None)
@given(orientations, st.integers(17, 50), st.integers(17, 50), even, even, st.data())
def test_region_is_the_padded_frame(orientation, height, width, top, left, data):
    size = st.integers(1, 40).map(lambda n: 2 * n)
    out_height, out_width = data.draw(size), data.draw(size)
    stored = orientation.size(height, width)
    frame = av.VideoFrame(stored[1], stored[0], "yuv420p")
    rng = np.random.default_rng(0)
    for plane in frame.planes:
        plane.update(rng.integers(1, 255, plane.buffer_size, np.uint8).tobytes())
    region = (top, left, out_height, out_width)
    reader = PlaneReader(FrameLayout(*stored, orientation), Window(region=region))
    luma, chroma = reader.empty_planes(1)
    reader.read(frame, luma[0], chroma[0])
    outs = (luma[0], chroma[0, ..., 0], chroma[0, ..., 1])
    for shift, (out, plane) in enumerate(zip(outs, encoded.stored_planes(frame), strict=True)):
        scale = 2 if shift else 1
        whole = np.pad(orientation.turn(plane), 200)  # zeros all around
        y, x = 200 + top // scale, 200 + left // scale
        expected = whole[y : y + out_height // scale, x : x + out_width // scale]
        np.testing.assert_array_equal(out, expected)
