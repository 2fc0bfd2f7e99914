"""Other ways of reading the frames of a training clip, to compare with."""

import contextlib
import dataclasses
import importlib
import pathlib
from collections.abc import Callable, Iterable
from types import ModuleType

import av
import numpy as np
from jaxtyping import Float, Int, UInt8

from mgm_jax.data.video.decoder import FrameDecoder
from mgm_jax.data.video.packets import index_packets

NOT_INSTALLED = "not measured (package not installed)"
_SIZE = 224


@dataclasses.dataclass(frozen=True)
class ClipToRead:
    """What a training clip is made of.

    Attributes:
        path: The video file.
        frames: Numbers of its frames, ascending; the last may repeat.
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


def make_libavcodec_loop(clip: ClipToRead) -> Callable[[], int]:
    """A bare PyAV loop: open, seek, decode up to the last frame, look at none.

    Args:
        clip: Of a file whose time stamps tell the frames apart.

    Returns:
        Reads it, and returns how many frames were decoded.
    """
    with _open(clip.path) as container:
        index = index_packets(container, container.streams.video[0], clip.path.name)
    times = sorted(index.number_of_time)
    first, last = times[clip.frames.min()], times[clip.frames.max()]

    def read() -> int:
        with _open(clip.path) as container:
            stream = container.streams.video[0]
            container.seek(first, stream=stream)
            return _count_until(last, container.decode(stream))

    return read


def make_decoding_alone(clip: ClipToRead) -> Callable[[], int]:
    """Nothing but the decoder's work: the file is open, its packets are in memory.

    Args:
        clip: Of a file whose time stamps tell the frames apart.

    Returns:
        Decodes from the key frame to the last frame wanted, and returns how many frames it decoded.
    """
    container = _open(clip.path)
    stream = container.streams.video[0]
    index = index_packets(container, stream, clip.path.name)
    packets = index.packets[index.start_for(int(clip.frames.min())) :]
    last = sorted(index.number_of_time)[clip.frames.max()]
    decoder = stream.codec_context
    decoder.open()

    def read() -> int:
        decoder.flush_buffers()
        decoded = (frame for packet in (*packets, None) for frame in decoder.decode(packet))
        return _count_until(last, decoded)

    return read


def make_needed_decoding(clip: ClipToRead, stride: int) -> Callable[[], int]:
    """The decoder's work for the frames that a training clip needs of an open file, with vectors.

    Args:
        clip: Of a file whose time stamps tell the frames apart.
        stride: Of its frames.

    Returns:
        Decodes what `Video.read` does, and returns how many frames it decoded.
    """
    decoder = FrameDecoder(clip.path, clip.path.name)
    wanted = sorted(set(clip.frames.tolist()))
    start, lenders = decoder.start_for(wanted[0]), decoder.motion_fallbacks(wanted, stride)

    def read() -> int:
        return sum(1 for _ in decoder.frames(start, wanted, lenders, True))

    return read


def _open(path: pathlib.Path) -> av.container.InputContainer:
    container = av.open(str(path), metadata_errors="ignore")
    stream = container.streams.video[0]
    stream.thread_type, stream.thread_count = "NONE", 1
    return container


def _count_until(time: int, frames: Iterable[av.VideoFrame]) -> int:
    return next(count for count, frame in enumerate(frames, 1) if frame.pts >= time)


def make_decord(clip: ClipToRead) -> Callable[[], UInt8[np.ndarray, "t h w 3"]] | None:
    """VideoMAE's way: decord's RGB frames, each cropped and scaled by PIL.

    Its conversion to floating point and its normalisation are left out.

    Args:
        clip: The clip.

    Returns:
        Reads it; None if decord is not installed.
    """
    if (decord := _import("decord")) is None:
        return None
    from PIL import Image

    top, left, bottom, right = clip.corners

    def read() -> UInt8[np.ndarray, "t h w 3"]:
        reader = decord.VideoReader(str(clip.path), num_threads=1)
        reader.seek(0)
        return np.stack(
            [
                np.asarray(
                    Image.fromarray(frame)
                    .crop((left, top, right, bottom))
                    .resize((_SIZE, _SIZE), Image.Resampling.BILINEAR)
                )
                for frame in reader.get_batch(clip.frames.tolist()).asnumpy()
            ]
        )

    return read


def make_torchcodec(clip: ClipToRead) -> Callable[[], UInt8[np.ndarray, "t h w 3"]] | None:
    """RGB frames of torchcodec, cropped and scaled together by torch, on one thread.

    Args:
        clip: The clip.

    Returns:
        Reads it; None if torchcodec is not installed, or finds no FFmpeg of the system.
    """
    if (decoders := _import("torchcodec.decoders")) is None:
        return None
    import torch

    torch.set_num_threads(1)
    top, left, bottom, right = clip.corners

    def read() -> UInt8[np.ndarray, "t h w 3"]:
        decoder = decoders.VideoDecoder(str(clip.path), num_ffmpeg_threads=1)
        frames = decoder.get_frames_at(clip.frames.tolist()).data[..., top:bottom, left:right]
        scaled = torch.nn.functional.interpolate(
            frames, (_SIZE, _SIZE), mode="bilinear", antialias=True
        )
        return scaled.permute(0, 2, 3, 1).numpy()

    return read


def _import(name: str) -> ModuleType | None:
    # torchcodec raises a RuntimeError where it finds no FFmpeg.
    with contextlib.suppress(ImportError, RuntimeError):
        return importlib.import_module(name)
    return None
