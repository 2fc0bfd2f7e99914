"""Random access to the frames of a video file and to their motion, in one decoding pass."""

import functools
import os
from collections.abc import Sequence
from typing import Literal, SupportsIndex

import av
import numpy as np
from jaxtyping import Int

from mgm_jax.data.motion.clip_motion import MotionSource
from mgm_jax.data.motion.codec_vectors import EXPORTING_CODECS
from mgm_jax.data.video.clip_builder import ClipBuilder, DecodedClip, FrameLayout
from mgm_jax.data.video.decoder import FrameDecoder, OutOfStep
from mgm_jax.data.video.planes import Orientation
from mgm_jax.errors import VideoError

__all__ = [
    "DecodedClip",
    "MotionChoice",
    "Video",
    "VideoError",
    "decode_frames_and_motion",
]

MotionChoice = Literal["codec", "estimate", "auto", "none"]


class Video:
    """A video file opened for reading; a context manager, for one thread.

    A plain H.264 mp4 is read by its tables: of the rest, only what a read needs. Any other file is
    read once when it is opened, without decoding it, and its compressed packets stay in memory.
    Files whose time stamps do not tell the frames apart (missing, doubled, or those of an AVI with
    B-frames, as HMDB51 has) are also decoded once, to count their frames, and every read of them
    starts at the first frame. The same is done with a file whose decoder turns out not to give
    the frames that the packets announce; `num_frames` then falls to what there is.

    *Decision*: up to 2 frames that a file announces but does not have show its last frame.

    The container's rotation is applied, its pixel aspect ratio is not.

    Args:
        source: Path, or the file's bytes.
        name: For messages; the path if left out.
        with_vectors: Whether reads will want the codec's vectors. Only a matter of speed: the
            first read that differs takes a new decoder, and may open the file again.

    Attributes:
        name: For messages.

    Raises:
        VideoError: Not a video, empty, or cut off.
    """

    def __init__(
        self,
        source: str | os.PathLike | bytes,
        name: str | None = None,
        with_vectors: bool = True,
    ) -> None:
        self.name = name or ("<bytes>" if isinstance(source, bytes) else os.fspath(source))
        self._decoder = FrameDecoder(source, self.name, with_vectors)

    def close(self) -> None:
        """Closes the file; nothing can be read after it."""
        self._decoder.close()

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def num_frames(self) -> int:
        """Number of frames that can be read."""
        return self._decoder.num_frames

    @property
    def height(self) -> int:
        """Rows of the displayed frame, luma pixels."""
        return self._layout.size[0]

    @property
    def width(self) -> int:
        """Columns of the displayed frame, luma pixels."""
        return self._layout.size[1]

    @property
    def fps(self) -> float:
        """Frames per second; nan if the file does not say."""
        return self._decoder.fps

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec."""
        return self._decoder.codec

    def read(
        self,
        frame_indices: Sequence[SupportsIndex] | Int[np.ndarray, " t"],
        *,
        size: tuple[int, int] | None = None,
        region: tuple[int, int, int, int] | None = None,
        motion: MotionChoice = "auto",
        lender_distance: int = 1,
    ) -> DecodedClip:
        """Decodes frames and their motion, from the nearest key frame to the last frame wanted.

        With codec motion, an intra-coded frame has no vectors and takes the map of the last frame
        decoded before it (*decision*); the first frame decoded in a read has none before it and is
        not valid. With estimated motion, frame 0 is not valid.

        Args:
            frame_indices: Numbers in presentation order; in any order, may repeat.
            size: (height, width) to scale the displayed frames to first; None keeps them.
            region: (top, left, height, width) in the scaled frame, luma pixels, all even. The
                planes have exactly this size and are zero outside the frame. None is the whole
                frame.
            motion: `codec` takes the vectors in the file, `estimate` matches blocks between each
                frame and the one before it, `auto` is `codec` where the file has vectors and
                otherwise `estimate`, `none` leaves the motion zero and not valid.
            lender_distance: How many frames before a key frame the one stands that is decoded to
                lend it its map: 1 is the frame before. The stride of a clip asks for no frame that
                it does not show. A nearer one lends its map where it is decoded anyway.

        Returns:
            The clip, as long as `frame_indices`.

        Raises:
            VideoError: A frame cannot be decoded or does not exist, or `codec` was asked of a file
                without vectors.
            ValueError: Arguments that cannot work for any video.
        """
        numbers = [int(index) for index in frame_indices]
        if not numbers:
            raise ValueError("frame_indices is empty")
        if region is not None and any(number % 2 for number in region):
            raise ValueError(f"region {region}: all four numbers must be even")
        for number in (min(numbers), max(numbers)):
            if not 0 <= number < self.num_frames:
                raise VideoError(
                    f"{self.name}: frame {number} does not exist; "
                    f"ask for frames 0 to {self.num_frames - 1}"
                )
        source = self._choose_motion(motion)
        which = (numbers, size, region, lender_distance)
        builder = self._decode(source, *which)
        if source == "codec" and not builder.saw_inter and self._is_all_intra(builder):
            if motion == "codec":
                raise self._no_vectors("all its frames are intra coded")
            builder = self._decode("estimate", *which)
        return builder.finish()

    @functools.cached_property
    def _layout(self) -> FrameLayout:
        if self._decoder.size is not None:
            return FrameLayout(*self._decoder.size, Orientation())
        return FrameLayout.of_frame(self._decoder.first_frame())

    def _choose_motion(self, motion: MotionChoice) -> MotionSource:
        if motion in ("none", "estimate"):
            return motion
        if self.codec in EXPORTING_CODECS:
            return "codec"
        if motion == "codec":
            raise self._no_vectors("FFmpeg exports none of this codec")
        return "estimate"

    def _is_all_intra(self, builder: ClipBuilder) -> bool:
        """Whether a read without inter frames says so of the file; one frame alone does not."""
        return builder.num_seen > 1 or (self.num_frames > 1 and self._decoder.index.all_key_frames)

    def _no_vectors(self, reason: str) -> VideoError:
        return VideoError(
            f"{self.name}: no motion vectors in this {self.codec} file ({reason}); re-encode it "
            "to H.264 with data_prep, or set motion to 'auto' or 'estimate'"
        )

    def _decode(
        self,
        source: MotionSource,
        numbers: Sequence[int],
        size: tuple[int, int] | None,
        region: tuple[int, int, int, int] | None,
        lender_distance: int,
    ) -> ClipBuilder:
        decoder, wanted = self._decoder, sorted(set(numbers))
        codec = source == "codec"
        start = decoder.start_for(max(wanted[0] - (source == "estimate"), 0))
        while True:
            builder = ClipBuilder(numbers, self._layout, source, size, region)
            if source == "estimate":
                needed = {number - 1 for number in wanted}
            elif codec:
                needed = decoder.lenders(wanted, lender_distance)
            else:
                needed = set()
            try:
                for number, frame in decoder.frames(start, wanted, needed, codec):
                    self._check_size(number, frame)
                    builder.add(number, frame)
                return builder
            except OutOfStep:
                if start == 0:
                    decoder.count_instead()
                start = 0

    def _check_size(self, number: int, frame: av.VideoFrame) -> None:
        layout = self._layout
        if (frame.height, frame.width) != (layout.stored_height, layout.stored_width):
            raise VideoError(
                f"{self.name}: frame {number} is {frame.width}x{frame.height}, the video "
                f"{layout.stored_width}x{layout.stored_height}; re-encode it with data_prep"
            )


def decode_frames_and_motion(
    source: str | os.PathLike | bytes,
    frame_indices: Sequence[SupportsIndex] | Int[np.ndarray, " t"] | None = None,
    *,
    size: tuple[int, int] | None = None,
    region: tuple[int, int, int, int] | None = None,
    motion: MotionChoice = "auto",
) -> DecodedClip:
    """Opens a video, reads one clip, and closes it.

    Args:
        source: Path, or the file's bytes.
        frame_indices: As in `Video.read`; None is every frame.
        size: As in `Video.read`.
        region: As in `Video.read`.
        motion: As in `Video.read`.

    Returns:
        The clip.

    Raises:
        VideoError: As `Video` and `Video.read`.
    """
    with Video(source, with_vectors=motion in ("codec", "auto")) as video:
        numbers = range(video.num_frames) if frame_indices is None else frame_indices
        return video.read(numbers, size=size, region=region, motion=motion)
