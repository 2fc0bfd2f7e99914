"""Random access to the frames of a video file and to their motion, in one decoding pass."""

import functools
from collections.abc import Sequence
from typing import Literal, SupportsIndex

import av
import numpy as np
from jaxtyping import Int

from mgm_jax.data.clip_builder import ClipBuilder, DecodedClip, MotionSource
from mgm_jax.data.motion.block_matching import BLOCK
from mgm_jax.data.video.decoder import EXPORTING_CODECS, FrameDecoder, UnexpectedFrameError
from mgm_jax.data.video.planes import FrameLayout, Orientation, Window
from mgm_jax.errors import VideoError

MotionChoice = Literal["codec", "estimate", "auto", "none"]


class Video(FrameDecoder):
    """A video file opened for reading; a context manager, for one thread.

    A plain H.264 mp4 is read by its tables, so only the needed packets are read. Any other file is
    demultiplexed when it is opened, and its packets stay in memory. If they do not tell the frames
    apart (time stamps missing, doubled, or those of an AVI with B-frames, as HMDB51 has), it is
    also decoded once to count its frames, and every read starts at the first frame. A read in which
    the decoder does not output the frames that the packets announce counts them as well.

    What a read gives depends on the file and its arguments alone, not on the reads before it.

    Frames are numbered from the first one that can be decoded: a recording may begin with frames
    that refer to missing ones.

    *Decision*: up to 2 frames at the end that are missing or damaged show the one before.

    The rotation that the container or the stream states is applied, its pixel aspect ratio is not.
    """

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def height(self) -> int:
        """Rows of the displayed frame, luma pixels."""
        return self._layout.size[0]

    @property
    def width(self) -> int:
        """Columns of the displayed frame, luma pixels."""
        return self._layout.size[1]

    def read(
        self,
        frame_indices: Sequence[SupportsIndex] | Int[np.ndarray, " t"],
        *,
        windows: Sequence[Window] = (Window(),),
        motion: MotionChoice = "auto",
        motion_fallback_distance: int = 1,
    ) -> DecodedClip:
        """Decodes frames and their motion, from the nearest key frame to the last requested frame.

        With codec motion, a frame without true vectors (an I-frame, a B-frame of MPEG-4) reuses
        those of an earlier frame (*decision*); it is not valid if none was decoded before it. With
        estimated motion, frame 0 is not valid.

        Args:
            frame_indices: Frame numbers in presentation order; in any order, may repeat.
            windows: Parts of the frames to read; by default the whole frame.
            motion: `codec` takes the vectors in the file, `estimate` matches blocks between each
                frame and the previous one, `auto` is `codec` if the file has vectors and otherwise
                `estimate`, `none` leaves motion zero and not valid.
            motion_fallback_distance: How many frames before an I-frame the frame is decoded whose
                motion it reuses. With the clip's stride, no extra frame is decoded. A later frame
                is used if it is decoded anyway.

        Raises:
            VideoError: A frame does not exist or cannot be decoded, or motion is `codec` and the
                file has no vectors.
        """
        numbers = [int(index) for index in frame_indices]
        for number in (min(numbers), max(numbers)):
            if not 0 <= number < self.num_frames:
                raise VideoError(
                    f"{self.name}: frame {number} does not exist; "
                    f"ask for frames 0 to {self.num_frames - 1}"
                )

        def decode(source: MotionSource) -> ClipBuilder:
            wanted, needed = sorted(set(numbers)), set[int]()
            if source == "estimate":
                if min(self.height, self.width) < BLOCK:
                    raise VideoError(
                        f"{self.name}: its frames are {self.width}x{self.height} pixels, and "
                        f"motion is estimated in blocks of {BLOCK}; leave it out, or set motion to "
                        "'none'"
                    )
                needed = {number - 1 for number in wanted}
            elif source == "codec" and self.index.timed:
                keys = self.index.key_frames.keys() & wanted
                needed = {number - motion_fallback_distance for number in keys}
            start = self.index.start_for(max(wanted[0] - (source == "estimate"), 0))
            while True:
                builder = ClipBuilder(numbers, self._layout, source, windows, self.codec)
                try:
                    frames = self.frames(start, wanted, needed, source == "codec")
                    for number, frame in frames:
                        self._check_layout(number, frame)
                        builder.add(number, frame)
                    return builder
                except UnexpectedFrameError:
                    start = None

        source = self._choose_motion(motion)
        builder = decode(source)
        # One I-frame says nothing of the others.
        conclusive = builder.num_seen > 1 or (self.num_frames > 1 and all(self.index.key_flags))
        if source == "codec" and not builder.saw_predicted and conclusive:
            if motion == "codec":
                raise self._no_vectors("all frames read are intra coded or interlaced")
            builder = decode("estimate")
        return builder.finish()

    @functools.cached_property
    def _layout(self) -> FrameLayout:
        if self.size is not None:
            return FrameLayout(*self.size)
        return FrameLayout.of_frame(self.first_frame)

    def _choose_motion(self, motion: MotionChoice) -> MotionSource:
        if motion == "none" or motion == "estimate":
            return motion
        if self.codec in EXPORTING_CODECS:
            return "codec"
        if motion == "codec":
            raise self._no_vectors("FFmpeg exports none of this codec")
        return "estimate"

    def _no_vectors(self, reason: str) -> VideoError:
        return VideoError(
            f"{self.name}: no motion vectors in this {self.codec} file ({reason}); re-encode it "
            "to H.264 with data_prep, or set motion to 'auto' or 'estimate'"
        )

    def _check_layout(self, number: int, frame: av.VideoFrame) -> None:
        layout = self._layout
        if (frame.height, frame.width) != (layout.stored_height, layout.stored_width):
            raise VideoError(
                f"{self.name}: frame {number} is {frame.width}x{frame.height}, the video "
                f"{layout.stored_width}x{layout.stored_height}; re-encode it with data_prep"
            )
        # Reading the matrix of every frame would take half as long as decoding a small one. Streams
        # state it at key frames; elsewhere, a rotation is seen at once.
        if (frame.key_frame or frame.rotation) and (
            Orientation.of_frame(frame, layout.orientation) != layout.orientation
        ):
            raise VideoError(
                f"{self.name}: frame {number} is turned otherwise than the first; cut the file in "
                "two there, or leave it out"
            )
