"""Other ways of reading the frames of a training clip, to compare with.

Every function prepares what is not part of the measurement and returns a function that reads the
clip with one decoding thread.
"""

import dataclasses
import pathlib
from collections.abc import Callable

import av
import numpy as np
from jaxtyping import Float, Int

from mgm_jax.data.video.containers import METADATA_ERRORS

_SIZE = 224


@dataclasses.dataclass(frozen=True)
class ClipToRead:
    """Frames and crop of a training clip.

    Attributes:
        path: The video file.
        frames: Frame numbers, ascending; the last may repeat.
        box: The crop: top, left, height, width, in pixels of the file.
    """

    path: pathlib.Path
    frames: Int[np.ndarray, " t"]
    box: Float[np.ndarray, " 4"]


def make_libavcodec(clip: ClipToRead) -> Callable[[], int]:
    """A bare PyAV loop: open, seek, decode up to the last frame; returns the number decoded."""
    with _open(clip.path) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    times = sorted(packet.pts for packet in packets if packet.pts is not None)
    first, last = times[clip.frames.min()], times[clip.frames.max()]

    def read() -> int:
        with _open(clip.path) as container:
            container.seek(first, stream=container.streams.video[0])
            frames = enumerate(container.decode(video=0), 1)
            return next(n for n, frame in frames if frame.pts is not None and frame.pts >= last)

    return read


def _open(path: pathlib.Path) -> av.container.InputContainer:
    container = av.open(str(path), **METADATA_ERRORS)
    stream = container.streams.video[0]
    stream.thread_type, stream.thread_count = "NONE", 1
    return container


def make_torchcodec(clip: ClipToRead) -> Callable[[], object] | None:
    """RGB frames of torchcodec, cropped and resized by PyTorch on one thread.

    None if torchcodec is not installed, or finds no FFmpeg libraries.
    """
    try:
        import torch
        from torchcodec import decoders
    except (ImportError, RuntimeError):  # RuntimeError: without FFmpeg.
        return None

    torch.set_num_threads(1)
    top, left, height, width = (round(float(side)) for side in clip.box)

    def read() -> torch.Tensor:
        decoder = decoders.VideoDecoder(str(clip.path), num_ffmpeg_threads=1)
        frames = decoder.get_frames_at(clip.frames.tolist()).data
        frames = frames[..., top : top + height, left : left + width]
        return torch.nn.functional.interpolate(
            frames, (_SIZE, _SIZE), mode="bilinear", antialias=True
        )

    return read
