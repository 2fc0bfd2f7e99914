"""Other ways of reading the frames of a training clip, to compare with.

Every function prepares what is not part of the measurement and returns a function that reads frames
of a file, by their numbers in ascending order, with one decoding thread. A crop is top, left,
height, width, in pixels of the file.
"""

import pathlib
from collections.abc import Callable

import av
import numpy as np
from jaxtyping import Float, Int

_SIZE = 224


def make_libavcodec(path: pathlib.Path, numbers: Int[np.ndarray, " t"]) -> Callable[[], int]:
    """A bare PyAV loop: open, seek, decode up to the last frame; returns the number decoded."""
    with _open(path) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    times = sorted(packet.pts for packet in packets if packet.pts is not None)
    first, last = times[numbers.min()], times[numbers.max()]

    def read() -> int:
        with _open(path) as container:
            container.seek(first, stream=container.streams.video[0])
            frames = enumerate(container.decode(video=0), 1)
            return next(n for n, frame in frames if frame.pts is not None and frame.pts >= last)

    return read


def _open(path: pathlib.Path) -> av.container.InputContainer:
    container = av.open(str(path), metadata_errors="ignore")
    stream = container.streams.video[0]
    stream.thread_type, stream.thread_count = "NONE", 1
    return container


def make_decord(
    path: pathlib.Path, numbers: Int[np.ndarray, " t"], crop: Float[np.ndarray, " 4"]
) -> Callable[[], object] | None:
    """VideoMAE's way: decord's RGB frames, cropped and resized by Pillow, without normalisation.

    None if decord is not installed.
    """
    try:
        import decord
    except ImportError:
        return None
    from PIL import Image

    top, left, height, width = (round(float(side)) for side in crop)

    def read() -> list[np.ndarray]:
        reader = decord.VideoReader(str(path), num_threads=1)
        reader.seek(0)
        frames = reader.get_batch(numbers.tolist()).asnumpy()
        crops = (Image.fromarray(f).crop((left, top, left + width, top + height)) for f in frames)
        return [np.asarray(c.resize((_SIZE, _SIZE), Image.Resampling.BILINEAR)) for c in crops]

    return read


def make_torchcodec(
    path: pathlib.Path, numbers: Int[np.ndarray, " t"], crop: Float[np.ndarray, " 4"]
) -> Callable[[], object] | None:
    """RGB frames of torchcodec, cropped and resized by PyTorch on one thread.

    None if torchcodec is not installed, or finds no FFmpeg libraries.
    """
    try:
        import torch
        from torchcodec import decoders
    except (ImportError, RuntimeError):  # RuntimeError: without FFmpeg.
        return None

    torch.set_num_threads(1)
    top, left, height, width = (round(float(side)) for side in crop)

    def read() -> torch.Tensor:
        decoder = decoders.VideoDecoder(str(path), num_ffmpeg_threads=1)
        frames = decoder.get_frames_at(numbers.tolist()).data
        frames = frames[..., top : top + height, left : left + width]
        return torch.nn.functional.interpolate(
            frames, (_SIZE, _SIZE), mode="bilinear", antialias=True
        )

    return read
