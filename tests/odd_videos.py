"""Real files that make libraries fail in ways of their own, by name."""

import io
import struct
from collections.abc import Callable
from fractions import Fraction

import av
import encoded
import numpy as np

JOINED_FRAMES = 30


def joined() -> bytes:
    """Three joined transport streams, of which only the second has sound.

    FFmpeg looks for streams in the first 5 MB and at the end, so the pictures are noise.
    """
    noise = np.random.default_rng(0).integers(0, 255, (576, 720, 3), np.uint8)
    parts: list[bytes] = []
    for num_sounds in (0, 30, 0):
        file = io.BytesIO()
        with av.open(file, "w", format="mpegts") as output:
            video = output.add_stream("mpeg2video", rate=25, options={"qmin": "1", "qmax": "1"})
            video.width, video.height, video.pix_fmt = 720, 576, "yuv420p"
            video.codec_context.gop_size = 1
            sounds = [output.add_stream("mp2", rate=48000) for _ in range(num_sounds)]
            for number in range(JOINED_FRAMES // 3):
                frame = av.VideoFrame.from_ndarray(noise, format="rgb24")
                frame.pts = number + len(parts) * JOINED_FRAMES // 3
                frame.time_base = Fraction(1, 25)
                output.mux(video.encode(frame))
                for stream in sounds:
                    sound = av.AudioFrame.from_ndarray(np.zeros((1, 2304), np.int16))
                    sound.sample_rate, sound.pts = 48000, frame.pts * 1920
                    output.mux(stream.encode(sound))
            for stream in output.streams:
                output.mux(stream.encode())
        parts.append(file.getvalue())
    return b"".join(parts)


def _all_hidden() -> bytes:
    """An edit list that starts long after the last frame."""
    data = bytearray(encoded.encode(encoded.moving_square(20)))
    place = data.index(b"elst") + 4 + 4 + 4  # Name, version and flags, count.
    duration, start, rate = struct.unpack_from(">IiI", data, place)
    struct.pack_into(">IiI", data, place, duration, start + 10**6, rate)
    return bytes(data)


def _tiny(height: int, width: int) -> bytes:
    frames = [
        av.VideoFrame.from_ndarray(np.full((height, width, 3), shade, np.uint8), format="rgb24")
        for shade in range(0, 200, 10)
    ]
    return encoded.encode(frames, "rawvideo", "avi", pix_fmt="bgr24")


UNREADABLE: dict[str, Callable[[], bytes]] = {
    "all_hidden.mp4": _all_hidden,
    "too_small_to_estimate.avi": lambda: _tiny(8, 8),
    "one_pixel_wide.avi": lambda: _tiny(64, 1),
}
