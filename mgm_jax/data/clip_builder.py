"""Collects the planes and the motion of one clip while its video is decoded."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import av
import numpy as np
from jaxtyping import Bool, Float, UInt8

from mgm_jax.data.motion.block_matching import estimate
from mgm_jax.data.motion.codec_vectors import (
    MOTION_CELL,
    Vectors,
    is_predicted,
    may_carry_true_vectors,
    orient,
    rasterise,
    vectors_of,
)
from mgm_jax.data.video.planes import FrameLayout, PlaneReader, Window, yuv_to_rgb

MotionSource = Literal["codec", "estimate", "none"]
Planes = tuple[UInt8[np.ndarray, "t h w"], UInt8[np.ndarray, "t h2 w2 2"]]
"""Luma and chroma of frames."""

# Painting several frames together is faster than one by one.
_FRAMES_AT_ONCE = 16
# Taking the vectors out of a frame costs a third of decoding a small one, so it is put off until
# the clip needs them; as many frames are held back.
_FRAMES_HELD = 4


@dataclasses.dataclass(frozen=True)
class DecodedClip:
    """Frames of one video in the requested order.

    Attributes:
        planes: Of each window.
        motion: Displacement from the past, (dx, dy) per 8x8 cell of the **whole** displayed frame,
            in its pixels before any scaling (see `motion.codec_vectors`).
        motion_valid: False where a frame has no motion; its map is then zero.
        yuv_to_rgb: From `planes.yuv_to_rgb`, of the first frame decoded for the clip.
    """

    planes: tuple[Planes, ...]
    motion: Float[np.ndarray, "t rows columns 2"]
    motion_valid: Bool[np.ndarray, " t"]
    yuv_to_rgb: Float[np.ndarray, "3 4"]
    motion_source: MotionSource

    @property
    def luma(self) -> UInt8[np.ndarray, "t h w"]:
        """Of the first window."""
        return self.planes[0][0]

    @property
    def chroma(self) -> UInt8[np.ndarray, "t h2 w2 2"]:
        """Of the first window."""
        return self.planes[0][1]


class ClipBuilder:
    """Takes decoded frames in presentation order and keeps what the clip needs of them.

    `numbers` and `windows` are those of `Video.read`; `codec` is FFmpeg's name.

    Attributes:
        num_seen: Number of frames added.
        saw_predicted: Whether a frame was predicted from others (see `is_predicted`).
    """

    def __init__(
        self,
        numbers: Sequence[int],
        layout: FrameLayout,
        source: MotionSource,
        windows: Sequence[Window],
        codec: str,
    ) -> None:
        wanted, self._order = np.unique(np.asarray(numbers), return_inverse=True)
        self._slots = {number: slot for slot, number in enumerate(wanted.tolist())}
        self._layout, self._source, self._codec = layout, source, codec
        self._readers = [PlaneReader(layout, window) for window in windows]
        self._planes = [reader.empty_planes(len(wanted)) for reader in self._readers]
        cells = (-(-side // MOTION_CELL) for side in layout.size)
        self._motion = np.zeros((len(wanted), *cells, 2), np.float32)
        self._motion_valid = np.zeros(len(wanted), bool)
        self._yuv_to_rgb: Float[np.ndarray, "3 4"] | None = None
        self._unpainted: list[tuple[int, Vectors]] = []
        self._last: tuple[int, av.VideoFrame] | None = None
        self._held: list[av.VideoFrame] = []
        self._vectors: Vectors | None = None
        self.num_seen = 0
        self.saw_predicted = False

    def add(self, number: int, frame: av.VideoFrame) -> None:
        """Takes the next decoded frame and its number, wanted or not."""
        self.num_seen += 1
        if self._yuv_to_rgb is None:
            self._yuv_to_rgb = yuv_to_rgb(frame)
        self.saw_predicted = self.saw_predicted or is_predicted(frame, self._codec)
        if self._source == "codec" and may_carry_true_vectors(frame, self._codec):
            self._held.append(frame)
        slot = self._slots.get(number)
        if slot is not None or len(self._held) == _FRAMES_HELD:
            self._take_vectors()
        if slot is not None:
            scaled: dict[tuple[int, int], av.VideoFrame] = {}  # Once for windows of one size.
            for reader, (luma, chroma) in zip(self._readers, self._planes, strict=True):
                source = scaled.get(reader.stored_size, frame)
                scaled[reader.stored_size] = reader.read(source, luma[slot], chroma[slot])
            if self._vectors is not None:
                self._add_motion(slot, self._vectors)
            elif self._source == "estimate" and self._last and self._last[0] == number - 1:
                self._add_motion(slot, estimate(self._last[1], frame))
        self._last = number, frame

    def finish(self) -> DecodedClip:
        """The clip, after every frame that it needs has been added."""
        self._paint()
        assert self._yuv_to_rgb is not None
        in_order = np.array_equal(self._order, np.arange(len(self._slots)))
        order = slice(None) if in_order else self._order
        return DecodedClip(
            tuple((luma[order], chroma[order]) for luma, chroma in self._planes),
            self._motion[order],
            self._motion_valid[order],
            self._yuv_to_rgb,
            self._source,
        )

    def _take_vectors(self) -> None:
        """Those of the last frame that carries any."""
        while self._held:
            vectors = vectors_of(self._held.pop())
            if vectors is not None:
                self._vectors = vectors
                self._held.clear()

    def _add_motion(self, slot: int, vectors: Vectors) -> None:
        self._motion_valid[slot] = True
        self._unpainted.append((slot, vectors))
        if len(self._unpainted) == _FRAMES_AT_ONCE:
            self._paint()

    def _paint(self) -> None:
        if not self._unpainted:
            return
        layout = self._layout
        stored_size = layout.stored_height, layout.stored_width
        frames = [
            orient(vectors, layout.orientation, *stored_size) for _, vectors in self._unpainted
        ]
        self._motion[[slot for slot, _ in self._unpainted]] += rasterise(frames, *layout.size)
        self._unpainted.clear()
