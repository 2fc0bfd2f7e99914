"""Frames of a long file from one of its seconds on, without decoding all that comes before."""

import fractions
import itertools
import math
from collections.abc import Iterator, Sequence

import av
import numpy as np

from mgm_jax.data.video.packets import demultiplex
from mgm_jax.errors import VideoError

_MARGIN = 10.0
"""If a seek ends too late: how many seconds earlier the next one goes."""

_SAME_RATE = 0.05
"""Part of a frame's duration that rounded time stamps may be off."""

_CONVERT = "convert it to mkv or mp4"


def frames_from(
    container: av.container.InputContainer, stream: av.VideoStream, seconds: float, name: str
) -> Iterator[tuple[float, av.VideoFrame, bool]]:
    """Decodes the frames from a second on to the end of the file.

    Each comes with its own second, counted from the first frame, and whether it has damage that
    FFmpeg has concealed, or is predicted from such a frame. In some formats (MPEG-TS) a seek may
    end at a packet that is no key frame, and nothing can be decoded up to the next one; then it is
    tried from further back.

    Raises:
        VideoError: The frames have no time stamps, or ones that decrease, or those of an AVI with
            B-frames, which do not say when a frame is shown.
        av.FFmpegError: A packet cannot be decoded.
    """
    if container.format.name == "avi" and stream.codec_context.reorder_depth > 0:
        raise VideoError(
            f"{name}: an AVI with B-frames does not say when each is shown; {_CONVERT}"
        )
    first, seconds = None, max(seconds, 0.0)
    for start in (seconds, seconds - _MARGIN, -_MARGIN):
        frames = _frames_after_seek(container, stream, start, name)
        first = next(frames, None)
        if first is not None and first[0] <= seconds:
            break
    last = -math.inf
    for found in itertools.chain([first] if first else [], frames):
        if found[0] >= seconds:
            if found[0] < last:
                raise VideoError(f"{name}: the time stamps of its frames decrease; {_CONVERT}")
            last = found[0]
            yield found


def steady_rate(times: Sequence[float], stated: float) -> float:
    """Frames per second of successive frames, from their seconds.

    It is the stated rate of the file unless most frames follow each other faster or slower, as in a
    part of a file of variable frame rate; then it is the mean of these frames.
    """
    gaps = np.diff(times)
    if not len(gaps) or not gaps.sum() or abs(np.median(gaps) * stated - 1) < _SAME_RATE:
        return stated
    return float(1 / gaps.mean())


def _frames_after_seek(
    container: av.container.InputContainer, stream: av.VideoStream, seconds: float, name: str
) -> Iterator[tuple[float, av.VideoFrame, bool]]:
    first, unit = stream.start_time or 0, stream.time_base
    assert unit is not None
    target = math.floor(fractions.Fraction(seconds) / unit) + first
    try:
        container.seek(target, stream=stream)
    except av.FFmpegError:  # Some formats refuse what is before the first frame.
        container.seek(first, stream=stream)
    damaged = False
    for packet in demultiplex(container, stream):
        for frame in packet.decode():
            damaged = frame.is_corrupt or (damaged and not frame.key_frame)
            if frame.pts is None:
                raise VideoError(f"{name}: its frames have no time stamps; {_CONVERT}")
            yield float((frame.pts - first) * unit), frame, damaged
