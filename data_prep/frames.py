"""Decodes every frame of a video file, or of a time segment of one, and downscales frames."""

import dataclasses
import math
from collections.abc import Iterator

import av
import numpy as np

from data_prep.transcode import Colours
from mgm_jax.data.video.containers import check_complete, open_demuxer
from mgm_jax.data.video.decoder import decode_packets
from mgm_jax.data.video.packets import index_packets
from mgm_jax.data.video.planes import FrameLayout, PlaneReader, Window, is_full_range
from mgm_jax.data.video.seeking import frames_from, steady_rate
from mgm_jax.errors import VideoError


@dataclasses.dataclass
class DecodingStats:
    """Frames that were decoded and lost.

    Attributes:
        expected: Frames that the file should have.
        decoded: Frames that were decoded.
        damaged: Frames among them that the decoder had to conceal errors in.
        error: First error of the decoder, if any.
    """

    expected: int = 0
    decoded: int = 0
    damaged: int = 0
    error: str | None = None

    def describe_losses(self) -> str | None:
        """A sentence; None if no frame was lost."""
        parts = []
        if self.decoded < self.expected:
            parts.append(f"{self.expected - self.decoded} of {self.expected} frames are missing")
        if self.damaged:
            parts.append(f"{self.damaged} of {self.expected} frames are damaged")
        if self.error:
            parts.append(self.error)
        return "; ".join(parts) or None


class _OpenVideo:
    """A video file that is open until the `with` block ends; `name` is for error messages."""

    def __init__(self, path: str, name: str) -> None:
        self._name = name
        self._container, self._stream = open_demuxer(path, name)
        self.fps = float(self._stream.average_rate or self._stream.guessed_rate or "nan")
        self.stats = DecodingStats()

    def __enter__(self) -> "_OpenVideo":
        return self

    def __exit__(self, *exception: object) -> None:
        self._container.close()


class VideoFrames(_OpenVideo):
    """All frames of a file in presentation order; a context manager.

    Whatever can be decoded of a damaged file is returned, also after the damage. Time stamps are
    ignored: a variable frame rate becomes its mean.

    Attributes:
        fps: Frames per second; nan if the file does not say.
        stats: Complete after `read`.

    Raises:
        VideoError: Not a video, empty, or truncated.
    """

    def __init__(self, path: str, name: str) -> None:
        check_complete(path, name)
        super().__init__(path, name)
        self._index = index_packets(self._container, self._stream, name)

    def read(self) -> Iterator[av.VideoFrame]:
        """Decodes the file, once; errors are counted in `stats`."""
        stats, undecodable = self.stats, 0

        def count(_: int, error: OSError | av.FFmpegError) -> None:
            nonlocal undecodable
            undecodable += 1
            stats.error = stats.error or f"the decoder says: {error.strerror}"

        index, decoder = self._index, self._stream.codec_context
        for frame in decode_packets(index, decoder, range(len(index.packets)), count):
            stats.decoded += 1
            stats.damaged += frame.is_corrupt
            yield frame
        # Without usable time stamps, the number of frames in a packet is not certain.
        stats.expected = sum(index.shown) if index.timed else stats.decoded + undecodable


class SegmentFrames(_OpenVideo):
    """The frames of a long file from second `start` to before second `end`; a context manager.

    Attributes:
        fps: Frames per second of the segment; before `read`, on average over the file.
        stats: Complete after `read`.
        times: Seconds of each decoded frame, from the start of the video.

    Raises:
        VideoError: Not a video.
    """

    def __init__(self, path: str, name: str, start: float, end: float) -> None:
        super().__init__(path, name)
        self._start, self._end = start, end
        self.times: list[float] = []

    def read(self) -> Iterator[av.VideoFrame]:
        """Decodes the segment, once; errors are counted in `stats`.

        Raises:
            VideoError: The frames have no time stamps.
        """
        frames = frames_from(self._container, self._stream, self._start, self._name)
        try:
            for seconds, frame, _ in frames:
                if seconds >= self._end:
                    break
                self.times.append(seconds)
                self.stats.decoded += 1
                self.stats.damaged += frame.is_corrupt
                yield frame
        except av.FFmpegError as error:
            second = self.times[-1] if self.times else self._start
            self.stats.error = f"the decoder says after second {second:g}: {error.strerror}"
        self.stats.expected = self.stats.decoded
        if math.isfinite(self.fps):
            self.fps = steady_rate(self.times, self.fps)
            # Depending on where the segment starts, it has one frame more or less.
            expected = math.floor((self._end - self._start) * self.fps) - 1
            self.stats.expected = max(self.stats.decoded, expected)


class Downscaler:
    """Rotates frames upright and downscales them to the size that `first` gets.

    *Decision*: the short side becomes `short_side` pixels if it is longer and `short_side` is not
    0; nothing is enlarged. The long side keeps the aspect ratio. Both become even: by scaling if
    the frame is scaled, otherwise by cropping the last row or column.

    Attributes:
        size: (height, width) of the result.
        colours: Of the result.

    Raises:
        VideoError: The frame is less than two pixels wide or high.
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
        self._reader = PlaneReader(layout, Window(scaled, (0, 0, *self.size)))
        self.colours = Colours()
        if first.format.name.startswith("yuv"):
            self.colours = Colours(
                range=2 if is_full_range(first) else 1,
                space=int(first.colorspace),
                primaries=int(first.color_primaries),
                transfer=int(first.color_trc),
            )

    def scale(self, frame: av.VideoFrame) -> av.VideoFrame:
        """A new frame, `yuv420p`."""
        luma, chroma = self._reader.empty_planes(1)
        self._reader.read(frame, luma[0], chroma[0])
        height, width = self.size
        planar = np.concatenate(
            [luma.ravel(), chroma[0, ..., 0].ravel(), chroma[0, ..., 1].ravel()]
        )
        return av.VideoFrame.from_ndarray(planar.reshape(height * 3 // 2, width), format="yuv420p")
