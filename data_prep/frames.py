"""Every frame of a video file, or of a stretch of one, one after the other."""

import dataclasses
import fractions
import math
from collections.abc import Iterator

import av
import numpy as np
from av.stream import Disposition

from data_prep.transcode import Colours
from mgm_jax.data.video.clip_builder import FrameLayout
from mgm_jax.data.video.packet_index import index_packets
from mgm_jax.data.video.planes import PlaneReader, is_full_range
from mgm_jax.errors import VideoError


@dataclasses.dataclass
class Losses:
    """What went wrong while frames were read.

    Attributes:
        announced: Frames that the file says it has.
        read: Frames that were decoded.
        damaged: Frames among them that the decoder had to patch.
        error: What the decoder complained of first, if of anything.
    """

    announced: int = 0
    read: int = 0
    damaged: int = 0
    error: str | None = None

    def describe(self) -> str | None:
        """A sentence; None if no frame was lost."""
        parts = []
        if self.read < self.announced:
            parts.append(f"{self.announced - self.read} of {self.announced} frames are missing")
        if self.damaged:
            parts.append(f"{self.damaged} of {self.announced} frames are damaged")
        if self.error:
            parts.append(self.error)
        return "; ".join(parts) or None


def _open(path: str, name: str) -> tuple[av.container.InputContainer, av.VideoStream]:
    try:
        # Some downloads carry metadata that is not UTF-8.
        container = av.open(path, metadata_errors="ignore")
    except (av.FFmpegError, OSError) as error:
        raise VideoError(
            f"{name}: it cannot be opened as a video ({error.strerror}); get it again"
        ) from error
    for stream in container.streams.video:
        if stream.codec_context and not stream.disposition & Disposition.attached_pic:
            stream.thread_type, stream.thread_count = "NONE", 1
            return container, stream
    container.close()
    raise VideoError(f"{name}: it has no video stream that FFmpeg can decode")


def _fps(stream: av.VideoStream) -> float:
    return float(stream.average_rate or stream.guessed_rate or "nan")


class VideoFrames:
    """All frames of a file in presentation order; a context manager.

    What a damaged file still gives is taken, also beyond the damage. Time stamps are not looked at:
    a file of varying frame rate runs at its mean rate afterwards.

    Args:
        path: Of the file.
        name: For messages.

    Attributes:
        fps: Frames per second; nan if the file does not say.
        losses: Complete once `read` has ended.

    Raises:
        VideoError: Not a video, empty, or cut off.
    """

    def __init__(self, path: str, name: str) -> None:
        self._name = name
        self._container, self._stream = _open(path, name)
        self.fps = _fps(self._stream)
        self.losses = Losses()
        try:
            self._index = index_packets(self._container, self._stream, name)
        except av.FFmpegError as error:
            self._container.close()
            raise VideoError(
                f"{name}: it cannot be read ({error.strerror}); get it again"
            ) from error
        except VideoError:
            self._container.close()
            raise

    def __enter__(self) -> "VideoFrames":
        return self

    def __exit__(self, *exception: object) -> None:
        self._container.close()

    def read(self) -> Iterator[av.VideoFrame]:
        """Decodes the file, once.

        Yields:
            Frames as stored; what is amiss is told by `losses`.
        """
        losses, decoder, undecodable = self.losses, self._stream.codec_context, 0
        for packet in (*self._index.packets, None):
            try:
                for frame in decoder.decode(packet):
                    losses.read += 1
                    losses.damaged += frame.is_corrupt
                    yield frame
            except av.FFmpegError as error:
                undecodable += 1
                losses.error = losses.error or f"the decoder says: {error.strerror}"
        # Where time stamps do not tell frames apart, not every packet is one: AVI holds empty ones.
        shown = self._index.num_shown
        losses.announced = shown if self._index.timed else losses.read + undecodable


class StretchFrames:
    """The frames of a stretch of a long file, which is not read beyond it; a context manager.

    Args:
        path: Of the file.
        name: For messages.
        start: Seconds from the start of the video; frames from there on.
        end: Seconds; frames before it.

    Attributes:
        fps: Frames per second, on average over the file.
        losses: Complete once `read` has ended.
        times: Seconds of each frame that was read.

    Raises:
        VideoError: Not a video.
    """

    def __init__(self, path: str, name: str, start: float, end: float) -> None:
        self._name, self._start, self._end = name, start, end
        self.times: list[float] = []
        self.losses = Losses()
        self._container, self._stream = _open(path, name)
        self.fps = _fps(self._stream)

    def __enter__(self) -> "StretchFrames":
        return self

    def __exit__(self, *exception: object) -> None:
        self._container.close()

    def read(self) -> Iterator[av.VideoFrame]:
        """Decodes the stretch, once.

        Yields:
            Frames as stored; what is amiss is told by `losses`.

        Raises:
            VideoError: The video cannot be read there.
        """
        stream, first = self._stream, self._stream.start_time or 0
        start = fractions.Fraction(self._start) / stream.time_base
        try:
            self._container.seek(math.floor(start) + first, stream=stream)
            for frame in self._container.decode(stream):
                if frame.pts is None:
                    raise VideoError(f"{self._name}: its frames have no time stamps; convert it")
                seconds = float((frame.pts - first) * stream.time_base)
                if seconds >= self._end:
                    break
                if seconds >= self._start:
                    self.times.append(seconds)
                    self.losses.read += 1
                    self.losses.damaged += frame.is_corrupt
                    yield frame
        except av.FFmpegError as error:
            second = self.times[-1] if self.times else self._start
            self.losses.error = f"the decoder says after second {second:g}: {error.strerror}"
        self.losses.announced = self.losses.read
        if math.isfinite(self.fps):
            # A frame more or less is a matter of where the stretch begins.
            expected = math.floor((self._end - self._start) * self.fps) - 1
            self.losses.announced = max(self.losses.read, expected)


class Shrinker:
    """Brings frames into the orientation and size in which they are stored again.

    *Decision*: the short side becomes `short_side`, if it is longer; nothing is enlarged. The long
    side follows, and both become even: by scaling where there is scaling, else by leaving out the
    last row or column.

    Args:
        first: The first frame; later ones of another size are scaled to it.
        short_side: Of the result, pixels; 0 keeps the size.
        name: For messages.

    Attributes:
        size: (height, width) of the result.
        colours: Of the result.

    Raises:
        VideoError: The frame is too small to become even.
    """

    def __init__(self, first: av.VideoFrame, short_side: int, name: str) -> None:
        layout = FrameLayout.of_frame(first)
        height, width = layout.size
        scaled = None
        if short_side and min(height, width) > short_side:
            factor = short_side / min(height, width)
            height, width = (2 * round(side * factor / 2) for side in (height, width))
            scaled = height, width
        self.size = height // 2 * 2, width // 2 * 2
        if 0 in self.size:
            raise VideoError(f"{name}: its frames are {width}x{height} pixels; leave it out")
        self._reader = PlaneReader(layout.orientation, *layout.size, scaled, (0, 0, *self.size))
        self.colours = Colours()
        if first.format.name.startswith("yuv"):
            self.colours = Colours(
                range=2 if is_full_range(first) else 1,
                space=int(first.colorspace),
                primaries=int(first.color_primaries),
                transfer=int(first.color_trc),
            )

    def shrink(self, frame: av.VideoFrame) -> av.VideoFrame:
        """One frame.

        Args:
            frame: As decoded.

        Returns:
            A new frame, `yuv420p`.
        """
        luma, chroma = self._reader.empty_planes(1)
        self._reader.read(frame, luma[0], chroma[0])
        height, width = self.size
        planar = np.concatenate(
            [luma.ravel(), chroma[0, ..., 0].ravel(), chroma[0, ..., 1].ravel()]
        )
        return av.VideoFrame.from_ndarray(planar.reshape(height * 3 // 2, width), format="yuv420p")
