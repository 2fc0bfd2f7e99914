"""Gathers one clip's motion while its video is decoded.

`sampled` motion, the paper's, is each wanted frame's own. `accumulated` motion of a wanted frame is
the displacement since the wanted frame before it, in the order of presentation; the first wanted
frame has its own.

*Decision* (project): accumulated motion is the plain sum, cell by cell, of the frames' maps; a
thing is not followed from cell to cell. Which maps it adds:

- With codec motion, those of the P-frames alone, each spread evenly over the frames since the
  reference before it, the P- or I-frame shown last. So every frame counts once, whatever the
  encoder chose. P-frames at every frame (`low_delay`): the sum of all frames' maps. P-frames at
  every sampled frame (`stride_aligned`): their own maps, which hold the whole displacement already;
  what B-frames between them say is part of it, and they are not even decoded. Other files: between
  references the motion is taken as uniform.
- An I-frame goes on with the speed of the P-frame before it.
- P-frames whose vectors do not point to the reference shown last (several references, or references
  out of the order of presentation) count as if they did; FFmpeg does not say where they point.
- With estimated motion, those of all frames, each estimated from the frame before it.
"""

import bisect
from collections.abc import Sequence
from typing import Literal

import av
import numpy as np
from jaxtyping import Bool, Float32

from mgm_jax.data.motion.block_matching import estimate
from mgm_jax.data.motion.codec_vectors import CELL, Vectors, orient, rasterise, vectors_of
from mgm_jax.data.video.decoder import B_PICTURE, INTER_PICTURES
from mgm_jax.data.video.planes import Orientation

MotionSource = Literal["codec", "estimate", "none"]
MotionFrames = Literal["sampled", "accumulated"]

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
        frames: Whose motion a wanted frame shows.

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
        frames: MotionFrames,
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
        self._accumulates = frames == "accumulated"
        self._waiting: list[tuple[Vectors, list[tuple[int, float]]]] = []
        self._last: tuple[int, av.VideoFrame] | None = None
        self._last_inter: av.VideoFrame | None = None
        self._last_reference: int | None = None
        self._last_step: tuple[av.VideoFrame, int] | None = None  # a P-frame, and what it spans

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
        if frame.pict_type in INTER_PICTURES:
            self._last_inter = frame
        if self._source == "codec":
            self._add_codec(number, frame)
        elif self._source == "estimate":
            self._add_estimate(number, frame)
        self._last = number, frame

    def finish(
        self,
    ) -> tuple[Float32[np.ndarray, "t rows columns 2"], Bool[np.ndarray, " t"]]:
        """The maps and their validity, one per wanted frame, once all frames have been added."""
        if self._accumulates and self._source == "codec" and self._last_reference is not None:
            self._go_on_to(self._wanted[-1])  # the file ended in B-frames
        self._paint()
        return self._motion, self._valid

    def _add_codec(self, number: int, frame: av.VideoFrame) -> None:
        own_slot = self._own_slot(number)
        if own_slot is not None and self._last_inter is not None:
            self._show(vectors_of(self._last_inter), [(own_slot, 1.0)])
        if self._accumulates and frame.pict_type != B_PICTURE:
            if self._last_reference is None:
                self._last_reference = number - 1
            if frame.pict_type in INTER_PICTURES:
                self._last_step = frame, number - self._last_reference
            self._go_on_to(number)

    def _go_on_to(self, number: int) -> None:
        """Gives the frames since the last reference the speed of the last P-frame."""
        if self._last_step is not None:
            frame, span = self._last_step
            shares = self._shares(self._last_reference, number, span)
            if shares:
                self._show(vectors_of(frame), shares)
        self._last_reference = number

    def _add_estimate(self, number: int, frame: av.VideoFrame) -> None:
        own_slot = self._own_slot(number)
        shares = [] if own_slot is None else [(own_slot, 1.0)]
        if self._accumulates:
            shares += self._shares(number - 1, number, 1)
        if shares and self._last and self._last[0] == number - 1:
            self._show(estimate(self._last[1], frame), shares)

    def _own_slot(self, number: int) -> int | None:
        """Where a frame shows its own motion and nothing else."""
        slot = self._slots.get(number)
        return None if self._accumulates and slot else slot

    def _shares(self, since: int, until: int, span: int) -> list[tuple[int, float]]:
        """How often each wanted frame adds a map that stands for `span` frames.

        Args:
            since: The frame before the first that has the map.
            until: The last frame that has the map.
            span: Frames over which the map is spread.

        Returns:
            (slot, share), of the frames whose interval overlaps.
        """
        shares = []
        for slot in range(max(bisect.bisect_right(self._wanted, since), 1), len(self._wanted)):
            before, own = self._wanted[slot - 1 : slot + 1]
            if before >= until:
                break
            shares.append((slot, (min(own, until) - max(before, since)) / span))
        return shares

    def _show(self, vectors: Vectors, shares: list[tuple[int, float]]) -> None:
        for slot, _ in shares:
            self._valid[slot] = True
        if len(vectors):
            self._waiting.append((vectors, shares))
        if len(self._waiting) == _FRAMES_AT_ONCE:
            self._paint()

    def _paint(self) -> None:
        if not self._waiting:
            return
        frames = [
            orient(vectors, self._orientation, *self._stored_size) for vectors, _ in self._waiting
        ]
        for field, (_, shares) in zip(rasterise(frames, *self._size), self._waiting, strict=True):
            for slot, share in shares:
                self._motion[slot] += field if share == 1 else np.float32(share) * field
        self._waiting.clear()
