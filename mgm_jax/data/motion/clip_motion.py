"""Gathers one clip's motion while its video is decoded: each frame's own, as in the paper."""

from collections.abc import Sequence
from typing import Literal

import av
import numpy as np
from jaxtyping import Bool, Float32

from mgm_jax.data.motion.block_matching import estimate
from mgm_jax.data.motion.codec_vectors import CELL, Vectors, orient, rasterise, vectors_of
from mgm_jax.data.video.decoder import INTER_PICTURES
from mgm_jax.data.video.planes import Orientation

MotionSource = Literal["codec", "estimate", "none"]

# Frames whose vectors wait to be painted together, which is faster than one by one.
_FRAMES_AT_ONCE = 16


class ClipMotion:
    """Takes decoded frames in presentation order and keeps the motion of the wanted ones.

    Args:
        wanted: Frame numbers, ascending, each once.
        orientation: How stored frames are turned for display.
        stored_height: Rows of the decoded frame, pixels.
        stored_width: Columns of the decoded frame, pixels.
        source: Where motion comes from.

    Attributes:
        saw_inter: Whether a frame was predicted from another.
    """

    def __init__(
        self,
        wanted: Sequence[int],
        orientation: Orientation,
        stored_height: int,
        stored_width: int,
        source: MotionSource,
    ) -> None:
        self._wanted = wanted
        self._slots = {number: slot for slot, number in enumerate(wanted)}
        self._orientation = orientation
        self._stored_size = stored_height, stored_width
        self._size = orientation.size(stored_height, stored_width)
        cells = (-(-side // CELL) for side in self._size)
        self._motion = np.zeros((len(wanted), *cells, 2), np.float32)
        self._valid = np.zeros(len(wanted), bool)
        self._source = source
        self._waiting: list[tuple[int, Vectors]] = []
        self._last: tuple[int, av.VideoFrame] | None = None
        self._last_inter: av.VideoFrame | None = None

    @property
    def saw_inter(self) -> bool:
        """Whether a frame was predicted from another."""
        return self._last_inter is not None

    def add(self, number: int, frame: av.VideoFrame) -> None:
        """Takes the next decoded frame, wanted or not.

        Args:
            number: Its number in presentation order.
            frame: As stored.
        """
        slot = self._slots.get(number)
        if frame.pict_type in INTER_PICTURES:
            self._last_inter = frame
        if slot is not None and self._source == "codec" and self._last_inter is not None:
            self._show(slot, vectors_of(self._last_inter))
        follows = self._last is not None and self._last[0] == number - 1
        if slot is not None and self._source == "estimate" and follows:
            self._show(slot, estimate(self._last[1], frame))
        self._last = number, frame

    def finish(
        self,
    ) -> tuple[Float32[np.ndarray, "t rows columns 2"], Bool[np.ndarray, " t"]]:
        """The maps and their validity, one per wanted frame, once all frames have been added."""
        self._paint()
        return self._motion, self._valid

    def _show(self, slot: int, vectors: Vectors) -> None:
        self._valid[slot] = True
        if len(vectors):
            self._waiting.append((slot, vectors))
        if len(self._waiting) == _FRAMES_AT_ONCE:
            self._paint()

    def _paint(self) -> None:
        if not self._waiting:
            return
        slots, frames = zip(*self._waiting, strict=True)
        frames = [orient(vectors, self._orientation, *self._stored_size) for vectors in frames]
        self._motion[list(slots)] = rasterise(frames, *self._size)
        self._waiting.clear()
