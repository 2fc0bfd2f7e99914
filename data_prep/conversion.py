"""One video as it is stored in a record: encoded anew, or copied as it is."""

import bisect
import dataclasses
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import av

from data_prep import transcode
from data_prep.entries import LOST_FRAMES, UNREADABLE, Entry, Problem
from data_prep.frames import Shrinker, StretchFrames, VideoFrames
from mgm_jax.data.video.clip_builder import FrameLayout
from mgm_jax.errors import ConfigError, VideoError

COPY = "copy"

# To be raised when a change to this module or to `frames` gives other clips.
_VERSION = 1

# Decision: around a key frame, as long as AVA's annotators saw.
SECONDS_BEFORE = SECONDS_AFTER = 1.5

# Decision: a video of which less than this share of its frames can be read is left out.
MIN_SHARE_READ = 0.5

# Decision: where a file does not say its frame rate, which training does not use.
_FPS_UNKNOWN = 25.0


@dataclasses.dataclass(frozen=True)
class Settings:
    """How all videos of a dataset are converted.

    Attributes:
        profile: Label of an encoding profile, or `COPY`.
        short_side: Longest that the short side may be, pixels; 0 keeps the size.
    """

    profile: str
    short_side: int

    def describe(self) -> dict[str, Any]:
        """All that the bytes of a converted video depend on, besides the file."""
        if self.profile == COPY:
            return {"version": _VERSION, "profile": COPY}
        return {
            "version": _VERSION,
            "profile": self.profile,
            "short_side": self.short_side,
            "encoder": transcode.encoder_version(),
            "options": transcode.parse_profile(self.profile).encoder_options(),
        }


def make_settings(profile: str, stride: int, short_side: int) -> Settings:
    """Settings from the values of the command line.

    Args:
        profile: `low_delay`, `stride_aligned` or `copy`.
        stride: Of `stride_aligned`, frames.
        short_side: Pixels; 0 keeps the size.

    Returns:
        The settings.

    Raises:
        ConfigError: A value that cannot be.
    """
    if short_side < 0 or short_side == 1:
        raise ConfigError(f"--short_side: {short_side}; give pixels, or 0 to keep the size")
    if profile == COPY:
        return Settings(COPY, 0)
    label = f"stride_aligned:{stride}" if profile == "stride_aligned" else profile
    try:
        return Settings(transcode.parse_profile(label).label, short_side)
    except ValueError as error:
        raise ConfigError(f"--profile, --stride: {error}, or {COPY}") from error


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A converted video, or why there is none.

    Attributes:
        video: The encoded file; empty if there is none.
        facts: Fields of the record: `fps`, `num_frames`, `height`, `width`, `profile`, `encoder`;
            and `key_frame` for a clip around one.
        problem: What is to be told of it.
    """

    video: bytes
    facts: dict[str, Any]
    problem: Problem | None


def convert(folder: str, entry: Entry, settings: Settings) -> Conversion:
    """Converts the video of one entry.

    Args:
        folder: Of the videos.
        entry: With a file.
        settings: Of the dataset.

    Returns:
        The conversion; an unreadable video is told by its `problem`.
    """
    path = os.path.join(folder, entry.file)
    try:
        if settings.profile == COPY:
            video, facts, lost = _copy(path, entry)
        else:
            with _open(path, entry) as frames:
                video, facts, lost = _encode(frames, entry, settings)
    except VideoError as error:
        return Conversion(b"", {}, Problem.of(UNREADABLE, entry, str(error)))
    problem = Problem.of(LOST_FRAMES, entry, lost) if lost else None
    return Conversion(video, facts, problem)


def _open(path: str, entry: Entry) -> VideoFrames | StretchFrames:
    if entry.key_frame is None:
        return VideoFrames(path, entry.file)
    seconds = entry.key_frame.seconds
    return StretchFrames(path, entry.file, seconds - SECONDS_BEFORE, seconds + SECONDS_AFTER)


def _encode(
    frames: VideoFrames | StretchFrames, entry: Entry, settings: Settings
) -> tuple[bytes, dict[str, Any], str | None]:
    decoded = frames.read()
    first = next(decoded, None)
    if first is None:
        reason = frames.losses.error
        if reason is None and entry.key_frame is not None:
            second = entry.key_frame.seconds
            reason = f"it has no frame around second {second:g}; get the whole film"
        raise VideoError(f"{entry.file}: no frame can be decoded: {reason or 'it has none'}")
    shrinker = Shrinker(first, settings.short_side, entry.file)

    def shrunk() -> Iterator[av.VideoFrame]:
        yield shrinker.shrink(first)
        yield from map(shrinker.shrink, decoded)

    fps = frames.fps if math.isfinite(frames.fps) and frames.fps > 0 else _FPS_UNKNOWN
    profile = transcode.parse_profile(settings.profile)
    video = transcode.encode_planes(shrunk(), shrinker.size, fps, profile, shrinker.colours)
    lost = _check_losses(frames, entry)
    facts = {
        "fps": fps,
        "num_frames": frames.losses.read,
        "height": shrinker.size[0],
        "width": shrinker.size[1],
        "profile": settings.profile,
        "encoder": transcode.encoder_version(),
    }
    if isinstance(frames, StretchFrames):
        facts["key_frame"] = _nearest(frames.times, entry.key_frame.seconds)
    return video, facts, lost


def _check_losses(frames: VideoFrames | StretchFrames, entry: Entry) -> str | None:
    losses, lost = frames.losses, frames.losses.describe()
    if losses.read < MIN_SHARE_READ * losses.announced:
        raise VideoError(f"{entry.file}: too little of it can be read: {lost}")
    return lost


def _nearest(times: list[float], seconds: float) -> int:
    after = bisect.bisect_left(times, seconds)
    return min(
        (i for i in (after - 1, after) if 0 <= i < len(times)),
        key=lambda i: abs(times[i] - seconds),
    )


def _copy(path: str, entry: Entry) -> tuple[bytes, dict[str, Any], str | None]:
    with VideoFrames(path, entry.file) as frames:
        size = None
        for frame in frames.read():
            size = size or FrameLayout.of_frame(frame).size
        # Nothing mends a copy, and training would stumble over it.
        if size is None or frames.losses.error:
            reason = frames.losses.describe() or "it has no frame"
            raise VideoError(f"{entry.file}: a copy cannot be mended: {reason}")
    facts = {
        "fps": frames.fps if math.isfinite(frames.fps) else 0.0,
        "num_frames": frames.losses.read,
        "height": size[0],
        "width": size[1],
        "profile": "",
        "encoder": "",
    }
    return pathlib.Path(path).read_bytes(), facts, frames.losses.describe()
