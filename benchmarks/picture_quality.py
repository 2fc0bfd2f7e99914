"""How near an encoded video is to the frames that it was made of."""

import contextlib
import dataclasses
import itertools
import math
import pathlib
from collections.abc import Iterator

import av
import numpy as np
from jaxtyping import Float, UInt8

from data_prep.frames import Downscaler, VideoFrames
from data_prep.transcode import PROFILES, encode_planes
from mgm_jax.data.decoding import Video

_PEAK = 255.0


@dataclasses.dataclass(frozen=True)
class Quality:
    """Of luma, over all frames.

    Attributes:
        mse: Mean squared error.
        ssim: Structural similarity, mean over pixels and frames.
    """

    mse: float
    ssim: float

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio of the mean squared error, decibels."""
        return 10 * math.log10(_PEAK**2 / self.mse) if self.mse else math.inf


def source_luma(path: pathlib.Path, short_side: int, most: int) -> UInt8[np.ndarray, "t h w"]:
    """The first frames as the encoder is given them: turned, and scaled down.

    Args:
        path: The video as downloaded.
        short_side: As `data_prep.prepare --short_side`.
        most: How many frames at most.

    Returns:
        Their luma.
    """
    with _shrunk(path, short_side) as (_, _, frames):
        return np.stack([_luma(frame) for frame in itertools.islice(frames, most)])


def encode_low_delay(path: pathlib.Path, short_side: int, crf: int) -> bytes:
    """The video as `data_prep.prepare --profile=low_delay` stores it, at another quality.

    Args:
        path: The video as downloaded.
        short_side: As `data_prep.prepare --short_side`.
        crf: x264's constant rate factor.

    Returns:
        The mp4 file.
    """
    profile = dataclasses.replace(PROFILES["low_delay"], crf=crf)
    with _shrunk(path, short_side) as (scaler, fps, frames):
        return encode_planes(frames, scaler.size, fps, profile, scaler.colours)


@contextlib.contextmanager
def _shrunk(
    path: pathlib.Path, short_side: int
) -> Iterator[tuple[Shrinker, float, Iterator[av.VideoFrame]]]:
    with VideoFrames(str(path), path.name) as frames:
        decoded = frames.read()
        first = next(decoded)
        scaler = Downscaler(first, short_side, path.name)
        fps = frames.fps if frames.fps > 0 else 25.0
        yield scaler, fps, map(scaler.scale, itertools.chain([first], decoded))


def encoded_luma(video: bytes, num_frames: int) -> UInt8[np.ndarray, "t h w"]:
    """Luma of the first frames of an encoded video."""
    with Video(video) as opened:
        return opened.read(range(num_frames), motion="none").luma


def compare(left: UInt8[np.ndarray, "t h w"], right: UInt8[np.ndarray, "t h w"]) -> Quality:
    """Quality of one video's luma held against another's."""
    errors, similarities = [], []
    for one, other in zip(left, right, strict=True):
        one, other = one.astype(np.float32), other.astype(np.float32)
        errors.append(float(np.square(one - other).mean()))
        similarities.append(ssim(one, other))
    return Quality(float(np.mean(errors)), float(np.mean(similarities)))


def ssim(left: Float[np.ndarray, "h w"], right: Float[np.ndarray, "h w"]) -> float:
    """Structural similarity of two pictures (Wang et al. 2004), where its window fits.

    The window is Gaussian, 11x11, of standard deviation 1.5; K1 = 0.01, K2 = 0.03.

    Args:
        left: Luma, 0..255, at least 11x11.
        right: The same.

    Returns:
        The mean over the pixels, 1 for equal pictures.
    """
    products = (left, right, left * left, right * right, left * right)
    mean_left, mean_right, square_left, square_right, product = map(_blur, products)
    variance_left, variance_right = square_left - mean_left**2, square_right - mean_right**2
    covariance = product - mean_left * mean_right
    c1, c2 = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2
    similarity = (2 * mean_left * mean_right + c1) * (2 * covariance + c2)
    similarity /= (mean_left**2 + mean_right**2 + c1) * (variance_left + variance_right + c2)
    return float(similarity.mean())


def size_at_quality(psnr: float, coarse: tuple[int, float], fine: tuple[int, float]) -> float:
    """Bytes that an encoder would need for a quality, from two encodings of the same video.

    Args:
        psnr: The quality, decibels.
        coarse: (bytes, decibels) of one encoding.
        fine: The same of another; the logarithm of the size is a line through both.

    Returns:
        Bytes.
    """
    share = (psnr - coarse[1]) / (fine[1] - coarse[1])
    return math.exp((1 - share) * math.log(coarse[0]) + share * math.log(fine[0]))


def _blur(picture: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h2 w2"]:
    weights = np.exp(-0.5 * np.square(np.arange(-5, 6) / 1.5))
    weights /= weights.sum()
    height, width = (side - len(weights) + 1 for side in picture.shape)
    rows = sum(weight * picture[i : i + height] for i, weight in enumerate(weights))
    return sum(weight * rows[:, i : i + width] for i, weight in enumerate(weights))


def _luma(frame: av.VideoFrame) -> UInt8[np.ndarray, "h w"]:
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width].copy()
