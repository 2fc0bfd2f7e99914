"""H.264 encoding profiles whose motion vectors have a known reference frame.

*Decision* (project): a codec's motion vector is the displacement from *some* reference frame.
Masking needs a known one, so prepared videos are encoded with one of two profiles:

- `low_delay` (IPPP): every vector is the displacement from the previous frame, as in the paper.
- `stride_aligned`: a reference frame every `stride` frames, with unreferenced B-frames in between.
  A decoder that skips unreferenced frames decodes only what a clip of that stride uses, and a
  P-frame's vectors refer to the previous *sampled* frame, if the clip starts at a multiple of the
  stride.

Encoding runs on one thread, so that equal frames give equal bytes.
"""

import dataclasses
import fractions
import io
import re
from collections.abc import Iterable, Sequence

import av
import numpy as np
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    VideoReformatter,
)
from jaxtyping import UInt8

from mgm_jax.errors import ConfigError

_REFERENCES_PER_GOP = 12
# x264's constant rate factor, 0 (lossless) to 51.
_CRF = 20


@dataclasses.dataclass(frozen=True)
class EncodingProfile:
    """Settings of the encoder.

    Attributes:
        stride: Frames from one reference frame to the next; 1, without B-frames, is `low_delay`.
    """

    stride: int = 1

    @property
    def label(self) -> str:
        """The text stored with each clip, e.g. "low_delay" or "stride_aligned:4"."""
        return "low_delay" if self.stride == 1 else f"stride_aligned:{self.stride}"

    def encoder_options(self) -> dict[str, str]:
        """Options of libavcodec's libx264 encoder."""
        x264 = {
            "keyint": self.stride * _REFERENCES_PER_GOP,
            "ref": 1,
            "bframes": self.stride - 1,
            "b-adapt": 0,
            "b-pyramid": "none",
            "weightb": 0,
            "open-gop": 0,
            # With it the bytes differ in one of twenty processes.
            "mbtree": 0,
        }
        if self.stride > 1:
            # An I-frame at a scene cut would move the reference frames off the stride.
            x264["scenecut"] = 0
        return {
            "preset": "medium",
            "tune": "fastdecode",
            "crf": str(_CRF),
            "x264-params": ":".join(f"{key}={value}" for key, value in x264.items()),
        }


PROFILES: dict[str, EncodingProfile] = {
    "low_delay": EncodingProfile(),
    "stride_aligned": EncodingProfile(stride=4),
}


def parse_profile(label: str) -> EncodingProfile:
    """The profile "low_delay", "stride_aligned" (stride 4) or "stride_aligned:STRIDE".

    Raises:
        ConfigError: Another label.
    """
    if label in PROFILES:
        return PROFILES[label]
    # x264 allows 16 B-frames in a row.
    stride = re.fullmatch(r"stride_aligned:([2-9]|1[0-7])", label)
    if stride is None:
        raise ConfigError(
            f"no encoding profile {label!r}; --profile is low_delay, stride_aligned or "
            "stride_aligned:STRIDE, with a stride from 2 to 17"
        )
    return EncodingProfile(stride=int(stride[1]))


def encoder_version() -> str:
    """Versions of the encoder and its libraries, which are stored with each record."""
    libavcodec = ".".join(map(str, av.library_versions["libavcodec"]))
    return f"libx264 in libavcodec {libavcodec}, PyAV {av.__version__}"


@dataclasses.dataclass(frozen=True)
class Colours:
    """Colour description of a video, as numbered by ITU-T H.273; `space` is the YUV matrix.

    Attributes:
        range: 1 for 16..235, 2 for 0..255.
    """

    range: int = int(ColorRange.MPEG)
    space: int = int(Colorspace.ITU601)
    primaries: int = int(ColorPrimaries.SMPTE170M)
    transfer: int = int(ColorTrc.SMPTE170M)


def encode_planes(
    frames: Iterable[av.VideoFrame],
    size: tuple[int, int],
    fps: float | fractions.Fraction,
    profile: EncodingProfile,
    colours: Colours,
) -> bytes:
    """Encodes `yuv420p` frames to an mp4 in memory, one at a time; replaces their time stamps.

    There must be at least one frame; `size` is (height, width), both even.
    """
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        rate = fractions.Fraction(fps).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate, options=profile.encoder_options())
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        encoder = stream.codec_context
        encoder.thread_count = 1
        encoder.color_range, encoder.colorspace = colours.range, colours.space
        encoder.color_primaries, encoder.color_trc = colours.primaries, colours.transfer
        for index, frame in enumerate(frames):
            frame.pts = index
            frame.time_base = 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def encode_h264(
    frames: UInt8[np.ndarray, "t h w 3"] | Sequence[UInt8[np.ndarray, "h w 3"]],
    fps: float | fractions.Fraction,
    profile: EncodingProfile,
) -> bytes:
    """Encodes RGB frames, of even sides, to an mp4 in memory: 4:2:0, limited range, BT.601."""
    # One reformatter for all frames: creating one takes longer than converting a small frame.
    to_yuv = VideoReformatter()

    def convert(rgb: UInt8[np.ndarray, "h w 3"]) -> av.VideoFrame:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        return to_yuv.reformat(frame, format="yuv420p", dst_colorspace=Colorspace.ITU601)

    return encode_planes(map(convert, frames), frames[0].shape[:2], fps, profile, Colours())
