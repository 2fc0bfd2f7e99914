"""From decoded frames to the 4:2:0 planes that are sent to the device.

The host only slices. Colours are converted on the device; frames are scaled here only on request,
and frames that are not 8-bit 4:2:0 are converted to it first.
"""

import dataclasses
import functools
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import VideoReformatter
from jaxtyping import Float, UInt8

# Formats whose three planes are used as they are; they differ in their range only.
_PLANAR_420 = ("yuv420p", "yuvj420p")

_LIMITED_RANGE, _FULL_RANGE = 1, 2  # AVCOL_RANGE_MPEG, AVCOL_RANGE_JPEG

# Luma weights (Kr, Kb) by the colour space number of ITU-T H.273, which FFmpeg uses.
_BT601 = (0.299, 0.114)
_LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020, non-constant luminance
    10: (0.2627, 0.0593),  # BT.2020, constant luminance
}


@dataclasses.dataclass(frozen=True)
class Orientation:
    """How the stored picture is turned for display: transposed first, then mirrored.

    Attributes:
        flip_x: Mirrored left to right.
        flip_y: Mirrored top to bottom.
    """

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def of_frame(cls, frame: av.VideoFrame, default: "Orientation | None" = None) -> "Orientation":
        """Reads the display matrix of the container or the stream, `default` (upright) without one.

        Angles are rounded to the nearest quarter turn. The pixel aspect ratio is ignored.
        """
        # `frame.side_data` would create a reference cycle.
        matrix = SideDataContainer(frame).get("DISPLAYMATRIX")  # type: ignore[call-arg]
        if matrix is None:
            return default or cls()
        # 3x3, fixed point, acting on row vectors: x' = a x + c y, y' = b x + d y.
        values = np.frombuffer(matrix, np.int32)
        a, b, _, c, d = values[:5].tolist()
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, flip_x=a < 0, flip_y=d < 0)
        return cls(True, flip_x=c < 0, flip_y=b < 0)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Exchanges height and width if the picture is transposed; its own inverse."""
        return (width, height) if self.transpose else (height, width)

    def turn(self, plane: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h2 w2"]:
        """A view of a stored plane as it is displayed."""
        if not (self.transpose or self.flip_x or self.flip_y):
            return plane
        plane = plane.T if self.transpose else plane
        return plane[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]


@dataclasses.dataclass(frozen=True)
class FrameLayout:
    """Size of the stored frames of a video in luma pixels, and how they are turned for display."""

    stored_height: int
    stored_width: int
    orientation: Orientation = Orientation()

    @classmethod
    def of_frame(cls, frame: av.VideoFrame) -> "FrameLayout":
        """The layout of a decoded frame."""
        return cls(frame.height, frame.width, Orientation.of_frame(frame))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the displayed frame."""
        return self.orientation.size(self.stored_height, self.stored_width)


def is_full_range(frame: av.VideoFrame) -> bool:
    """Whether luma spans 0..255 (JPEG range) rather than 16..235."""
    return frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj")


def _is_yuv(frame: av.VideoFrame) -> bool:
    return not frame.format.is_rgb and frame.format.name.startswith("yuv")


def to_planar_420(
    frame: av.VideoFrame,
    size: tuple[int, int] | None = None,
    reformatter: VideoReformatter | None = None,
) -> av.VideoFrame:
    """Converts a frame to 8-bit 4:2:0, and scales it on request.

    Range and colour space are kept. RGB, grey and palette frames become limited-range BT.601.
    Scaling is FFmpeg's bilinear, which avoids aliasing when it shrinks. A frame that needs no
    change is returned itself. `size` is (height, width) in stored orientation. Building a
    `reformatter` is slow, so frames can share one.
    """
    height, width = size or (frame.height, frame.width)
    if frame.format.name in _PLANAR_420 and (height, width) == (frame.height, frame.width):
        return frame
    colours: dict[str, Any] = {"dst_colorspace": "ITU601", "dst_color_range": _LIMITED_RANGE}
    # FFmpeg's scaler takes grey for full range, whatever the frame says.
    if _is_yuv(frame) or (frame.format.name == "gray" and frame.color_range == _LIMITED_RANGE):
        limited = _is_yuv(frame) and not is_full_range(frame)
        colour_range = _LIMITED_RANGE if limited else _FULL_RANGE
        # With the same colour space on both sides colours do not change. The frame's own may be
        # one that FFmpeg's scaler refuses.
        colours = {
            "src_colorspace": "ITU601",
            "dst_colorspace": "ITU601",
            "src_color_range": colour_range,
            "dst_color_range": colour_range,
        }
    return (reformatter or VideoReformatter()).reformat(
        frame, width, height, "yuv420p", interpolation="BILINEAR", threads=1, **colours
    )


def yuv_to_rgb(frame: av.VideoFrame) -> Float[np.ndarray, "3 4"]:
    """The affine map from the planes of `to_planar_420(frame)` to RGB.

    A frame without a stated colour space is taken as BT.601, as FFmpeg's scaler does. The matrix,
    which is read-only, multiplies (Y, U, V, 1), with Y, U, V in 0..255, and gives (R, G, B), which
    the caller clips to 0..1.
    """
    is_yuv = _is_yuv(frame)
    weights = _LUMA_WEIGHTS.get(frame.colorspace, _BT601) if is_yuv else _BT601
    return _affine_to_rgb(*weights, is_yuv and is_full_range(frame))


@functools.lru_cache
def _affine_to_rgb(red: float, blue: float, full_range: bool) -> Float[np.ndarray, "3 4"]:
    green = 1 - red - blue
    matrix = np.array(
        [
            [1, 0, 2 * (1 - red)],
            [1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
            [1, 2 * (1 - blue), 0],
        ]
    )
    if full_range:
        scale, zero = np.array([255, 255, 255]), np.array([0, 128, 128])
    else:
        scale, zero = np.array([219, 224, 224]), np.array([16, 128, 128])
    linear = matrix / scale
    affine = np.concatenate([linear, -(linear @ zero)[:, None]], axis=1).astype(np.float32)
    affine.setflags(write=False)  # All callers share the cached array.
    return affine


@dataclasses.dataclass(frozen=True)
class Window:
    """The part of the displayed frames to read.

    Attributes:
        size: (height, width) to scale the frames to first; None keeps them.
        region: (top, left, height, width) in the scaled frame, luma pixels, all even; the planes
            are zero where it reaches past the frame. None is the whole frame.
    """

    size: tuple[int, int] | None = None
    region: tuple[int, int, int, int] | None = None


class PlaneReader:
    """Copies a window of frames of one layout into arrays."""

    def __init__(self, layout: FrameLayout, window: Window) -> None:
        self._orientation = layout.orientation
        height, width = window.size or layout.size
        self.stored_size = layout.orientation.size(height, width)
        self._region = window.region or (0, 0, height, width)
        luma = _overlap(self._region, height, width)
        top, left, rows, columns, height, width = (
            -(-number // 2) for number in (*self._region, height, width)
        )
        chroma = _overlap((top, left, rows, columns), height, width)
        self._overlaps = (luma, chroma, chroma)
        self._reformatter = VideoReformatter()

    def empty_planes(
        self, num_frames: int
    ) -> tuple[UInt8[np.ndarray, "t h w"], UInt8[np.ndarray, "t h2 w2 2"]]:
        """Allocates luma and chroma for `num_frames` frames, zero where `read` does not write."""
        _, _, height, width = self._region
        luma = np.empty((num_frames, height, width), np.uint8)
        chroma = np.empty((num_frames, (height + 1) // 2, (width + 1) // 2, 2), np.uint8)
        for planes, ((rows, columns), _) in zip((luma, chroma), self._overlaps[:2], strict=True):
            planes[:, : rows.start] = planes[:, rows.stop :] = 0
            planes[:, :, : columns.start] = planes[:, :, columns.stop :] = 0
        return luma, chroma

    def read(
        self,
        frame: av.VideoFrame,
        luma: UInt8[np.ndarray, "h w"],
        chroma: UInt8[np.ndarray, "h2 w2 2"],
    ) -> av.VideoFrame:
        """Writes the window of a stored frame, which it returns scaled, into `empty_planes`."""
        frame = to_planar_420(frame, self.stored_size, self._reformatter)
        outs = (luma, chroma[..., 0], chroma[..., 1])
        for plane, out, (inside, of_plane) in zip(frame.planes, outs, self._overlaps, strict=True):
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)
            out[inside] = self._orientation.turn(rows[:, : plane.width])[of_plane]
        return frame


def _overlap(
    region: tuple[int, int, int, int], height: int, width: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a region (top, left, height, width) meets a plane: in the region, and in the plane."""
    axes = []
    for first, extent, whole in zip(region[:2], region[2:], (height, width), strict=True):
        start = max(first, 0)
        end = max(min(first + extent, whole), start)
        axes.append((slice(start - first, end - first), slice(start, end)))
    (rows, plane_rows), (columns, plane_columns) = axes
    return (rows, columns), (plane_rows, plane_columns)
