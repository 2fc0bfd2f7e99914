"""Other ways of reading the frames of a training clip, to compare with.

Every function prepares what is not part of the measurement and returns a function that reads the
clip with one decoding thread.
"""

import contextlib
import dataclasses
import importlib
import pathlib
from collections.abc import Callable
from types import ModuleType

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

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """The crop in whole pixels: top, left, bottom, right."""
        top, left, height, width = (round(float(side)) for side in self.box)
        return top, left, top + height, left + width


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


def make_decord(clip: ClipToRead) -> Callable[[], object] | None:
    """VideoMAE's way: decord's RGB frames, cropped and resized by Pillow, without normalisation.

    None if decord is not installed.
    """
    if (decord := _import("decord")) is None:
        return None
    from PIL import Image

    top, left, bottom, right = clip.corners

    def read() -> list[np.ndarray]:
        reader = decord.VideoReader(str(clip.path), num_threads=1)
        reader.seek(0)
        frames = reader.get_batch(clip.frames.tolist()).asnumpy()
        crops = (Image.fromarray(frame).crop((left, top, right, bottom)) for frame in frames)
        return [
            np.asarray(crop.resize((_SIZE, _SIZE), Image.Resampling.BILINEAR)) for crop in crops
        ]

    return read


def make_torchcodec(clip: ClipToRead) -> Callable[[], object] | None:
    """RGB frames of torchcodec, cropped and resized by PyTorch on one thread.

    None if torchcodec is not installed, or finds no FFmpeg libraries.
    """
    if (decoders := _import("torchcodec.decoders")) is None:
        return None
    import torch

    torch.set_num_threads(1)
    top, left, bottom, right = clip.corners

    def read() -> torch.Tensor:
        decoder = decoders.VideoDecoder(str(clip.path), num_ffmpeg_threads=1)
        frames = decoder.get_frames_at(clip.frames.tolist()).data[..., top:bottom, left:right]
        return torch.nn.functional.interpolate(
            frames, (_SIZE, _SIZE), mode="bilinear", antialias=True
        )

    return read


def _import(name: str) -> ModuleType | None:
    # torchcodec raises a RuntimeError where it finds no FFmpeg.
    with contextlib.suppress(ImportError, RuntimeError):
        return importlib.import_module(name)
    return None
