"""Gathers one clip's planes and motion while its video is decoded."""

import dataclasses
from collections.abc import Sequence

import av
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from mgm_jax.data.motion.clip_motion import ClipMotion, MotionSource
from mgm_jax.data.video.planes import Orientation, PlaneReader, yuv_to_rgb


@dataclasses.dataclass(frozen=True)
class DecodedClip:
    """Frames of one video, in the order they were asked for.

    Attributes:
        luma: Y planes of the region.
        chroma: U and V planes of the region.
        motion: Displacement from the past as (dx, dy) per 8x8 cell of the **whole** displayed
            frame, in its pixels before any scaling. See `motion_vectors` for what it means.
        motion_valid: False where a frame has no motion to show: then its map is zero.
        yuv_to_rgb: Affine map from (Y, U, V, 1) in 0..255 to (R, G, B) in 0..1, of the first frame
            that was decoded for the clip.
        motion_source: Where the motion came from.
    """

    luma: UInt8[np.ndarray, "t h w"]
    chroma: UInt8[np.ndarray, "t h2 w2 2"]
    motion: Float[np.ndarray, "t rows columns 2"]
    motion_valid: Bool[np.ndarray, " t"]
    yuv_to_rgb: Float[np.ndarray, "3 4"]
    motion_source: MotionSource

    def to_rgb(
        self, places: Int[np.ndarray, " n"] | slice = slice(None)
    ) -> UInt8[np.ndarray, "n h w 3"]:
        """Frames for people; training converts them on the device.

        Args:
            places: Which frames of the clip; all by default.

        Returns:
            RGB, each chroma pixel for the four of luma that share it.
        """
        luma, chroma = self.luma[places], self.chroma[places]
        height, width = luma.shape[1:]
        chroma = chroma.repeat(2, axis=1).repeat(2, axis=2)[:, :height, :width]
        yuv = np.concatenate([luma[..., None], chroma], axis=-1).astype(np.float32)
        matrix, offset = np.split(self.yuv_to_rgb.astype(np.float32), [3], axis=1)
        return np.rint((yuv @ matrix.T + offset[:, 0]).clip(0, 1) * 255).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class FrameLayout:
    """What all frames of a video share.

    Attributes:
        stored_height: Rows of the decoded frame, luma pixels.
        stored_width: Columns of the decoded frame, luma pixels.
        orientation: How it is turned for display.
    """

    stored_height: int
    stored_width: int
    orientation: Orientation

    @classmethod
    def of_frame(cls, frame: av.VideoFrame) -> "FrameLayout":
        """The layout of a decoded frame."""
        return cls(frame.height, frame.width, Orientation.of_frame(frame))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the displayed frame."""
        return self.orientation.size(self.stored_height, self.stored_width)


class ClipBuilder:
    """Takes decoded frames in presentation order and keeps what the clip needs of them.

    Args:
        numbers: Frame numbers of the clip; any order, may repeat.
        layout: Of the video's frames.
        source: Where motion comes from.
        size: (height, width) to scale the displayed frames to; None keeps them.
        region: (top, left, height, width) in the scaled frame; None is the whole frame.

    Attributes:
        num_seen: Frames added.
    """

    def __init__(
        self,
        numbers: Sequence[int],
        layout: FrameLayout,
        source: MotionSource,
        size: tuple[int, int] | None,
        region: tuple[int, int, int, int] | None,
    ) -> None:
        wanted, self._order = np.unique(np.asarray(numbers), return_inverse=True)
        self._slots = {number: slot for slot, number in enumerate(wanted.tolist())}
        self._yuv_to_rgb: Float[np.ndarray, "3 4"] | None = None
        self._source = source
        self._reader = PlaneReader(layout.orientation, *layout.size, size, region)
        self._luma, self._chroma = self._reader.empty_planes(len(wanted))
        self._motion = ClipMotion(
            wanted.tolist(),
            layout.orientation,
            layout.stored_height,
            layout.stored_width,
            source,
        )
        self.num_seen = 0

    @property
    def saw_inter(self) -> bool:
        """Whether a frame was predicted from another."""
        return self._motion.saw_inter

    def add(self, number: int, frame: av.VideoFrame) -> None:
        """Takes the next decoded frame, wanted or not.

        Args:
            number: Its number in presentation order.
            frame: As stored.
        """
        self.num_seen += 1
        if self._yuv_to_rgb is None:
            self._yuv_to_rgb = yuv_to_rgb(frame)
        slot = self._slots.get(number)
        if slot is not None:
            self._reader.read(frame, self._luma[slot], self._chroma[slot])
        self._motion.add(number, frame)

    def finish(self) -> DecodedClip:
        """The clip, once every frame it needs has been added."""
        arrays = self._luma, self._chroma, *self._motion.finish()
        if not np.array_equal(self._order, np.arange(len(self._slots))):
            arrays = tuple(array[self._order] for array in arrays)
        return DecodedClip(*arrays, self._yuv_to_rgb, self._source)
