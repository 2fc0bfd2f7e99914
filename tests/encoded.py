"""Small videos with known content and motion, really encoded, and a plain reference decoder."""

import io
import os
import pathlib
import tempfile
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np

from mgm_jax.data.video.containers import METADATA_ERRORS

HEIGHT, WIDTH = 144, 176
SQUARE = 64

LOW_DELAY = {"x264-params": "bframes=0:ref=1:keyint=12:scenecut=0:log-level=none", "crf": "12"}
B_FRAMES = {
    "x264-params": "bframes=3:b-adapt=0:b-pyramid=none:keyint=12:log-level=none",
    "crf": "12",
}


def texture(height: int, width: int, seed: int = 0, cell: int = 4) -> np.ndarray:
    """Random luma in cells of a few pixels: unmistakable for block matching."""
    cells = np.random.default_rng(seed).integers(
        40, 215, (-(-height // cell), -(-width // cell)), np.uint8
    )
    return np.kron(cells, np.ones((cell, cell), np.uint8))[:height, :width]


def scenery(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Random luma with detail of all sizes, as natural pictures have."""
    layers = [texture(height, width, seed + cell, cell).astype(int) for cell in (4, 8, 16, 32)]
    return (sum(layers) // len(layers)).astype(np.uint8)


def square_corner(number: int, step: tuple[int, int]) -> tuple[int, int]:
    """(top, left) of the square in a frame; it turns back before it leaves the picture."""
    phase = min(number % 24, 24 - number % 24)
    return 24 + step[1] * phase, 24 + step[0] * phase


def moving_square(
    num_frames: int, step: tuple[int, int] = (4, 2), height: int = HEIGHT, width: int = WIDTH
) -> list[av.VideoFrame]:
    """Frames of a textured square moving by `step` = (dx, dy) over a still background."""
    background, square = texture(height, width, 1), texture(SQUARE, SQUARE, 2)
    frames = []
    for number in range(num_frames):
        luma = background.copy()
        top, left = square_corner(number, step)
        luma[top : top + SQUARE, left : left + SQUARE] = square[: height - top, : width - left]
        frames.append(_frame(luma, number))
    return frames


def scroll(num_frames: int, step: tuple[int, int], interlaced: bool = False) -> list[av.VideoFrame]:
    """Frames of a scene that moves by `step` = (dx, dy) as a whole, all its blocks alike.

    Of an interlaced frame, the lower field is taken half a frame later.
    """
    (dx, dy), last = step, num_frames
    scene = scenery(HEIGHT + dy * last, WIDTH + dx * last)
    frames = []
    for number in range(num_frames):
        top, left = dy * (last - number), dx * (last - number)
        luma = scene[top : top + HEIGHT, left : left + WIDTH].copy()
        if interlaced:
            top, left = top - dy // 2, left - dx // 2
            luma[1::2] = scene[top : top + HEIGHT, left : left + WIDTH][1::2]
        frames.append(_frame(luma, number))
    return frames


def _frame(luma: np.ndarray, number: int) -> av.VideoFrame:
    height, width = luma.shape
    chroma_size = ((height + 1) // 2, (width + 1) // 2)
    frame = av.VideoFrame(width, height, "yuv420p")
    blue = np.linspace(60, 200, chroma_size[1]).astype(np.uint8)
    planes = (luma, np.broadcast_to(blue, chroma_size), np.full(chroma_size, 100 + number))
    for plane, values in zip(frame.planes, planes, strict=True):
        padded = np.zeros((plane.height, plane.line_size), np.uint8)
        padded[:, : plane.width] = values
        plane.update(padded.tobytes())
    return frame


def encode(
    frames: Sequence[av.VideoFrame],
    codec: str = "libx264",
    container: str = "mp4",
    *,
    options: dict[str, str] | None = None,
    pix_fmt: str = "yuv420p",
    gop: int | None = None,
    b_frames: int | None = None,
    rotation: int = 0,
    hflip: bool = False,
) -> bytes:
    """Encodes frames to a file in memory, 25 frames per second."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, pix_fmt
        if codec == "libx264" and options is None:
            options = LOW_DELAY
        stream.options = options or {}
        if gop is not None:
            stream.codec_context.gop_size = gop
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        if rotation or hflip:
            stream.set_display_rotation(rotation, hflip=hflip)
        for number, frame in enumerate(frames):
            if frame.format.name != pix_fmt:
                frame = frame.reformat(format=pix_fmt)
            frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, 25), 0
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    if codec == "libsvtav1":
        # It makes its caller a real-time thread, where it may, and the tests beside starve.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return file.getvalue()


def remux(data: bytes, container: str, change=lambda number, packet: packet, options=None) -> bytes:
    """Copies the video stream into another container; `change` returns a packet or None."""
    # Some options of containers need a file that FFmpeg can open again.
    with tempfile.NamedTemporaryFile() as file:
        with (
            av.open(io.BytesIO(data)) as source,
            av.open(file.name, "w", format=container, container_options=options or {}) as output,
        ):
            stream = output.add_stream_from_template(source.streams.video[0])
            packets = (packet for packet in source.demux(video=0) if packet.size)
            for number, packet in enumerate(packets):
                packet = change(number, packet)
                if packet is not None:
                    packet.stream = stream
                    output.mux(packet)
        return pathlib.Path(file.name).read_bytes()


def swapped_times() -> bytes:
    """14 frames; the packets of the B-frames 6 and 7 carry each other's presentation times."""

    def swap(number: int, packet: av.Packet) -> av.Packet:
        frame = packet.pts // packet.duration
        swapped = {6: 7, 7: 6}.get(frame, frame)
        packet.pts = (swapped + 2) * packet.duration  # later, so that none comes before decoding
        return packet

    return remux(encode(moving_square(14), options=B_FRAMES), "mp4", swap)


def slow_then_fast() -> bytes:
    """Four seconds at 10 frames per second, then four at 25, which the file is said to have."""

    def times(number: int, packet: av.Packet) -> av.Packet:
        packet.pts = packet.dts = number * 100 if number < 40 else 4000 + (number - 40) * 40
        packet.time_base = Fraction(1, 1000)
        return packet

    return remux(encode(moving_square(24) * 5 + moving_square(20)), "matroska", times)


def decode_all(source: bytes | pathlib.Path) -> list[av.VideoFrame]:
    """Every frame, one after the other, as the decoder gives them."""
    file = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    with av.open(file, **METADATA_ERRORS) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        return list(container.decode(stream))


def stored_planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """The planes of a 4:2:0 frame as it is stored."""
    return [
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for plane in frame.planes
    ]
