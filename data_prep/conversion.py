"""Re-encodes one video file, as the bytes and fields of a record."""

import dataclasses
import itertools
import math
import os
from collections.abc import Iterable
from typing import Any

import av

from data_prep import transcode
from data_prep.entries import LOST_FRAMES, UNREADABLE, Entry, Problem
from data_prep.frames import Downscaler, SegmentFrames, VideoFrames
from mgm_jax.data.identity import fingerprint
from mgm_jax.errors import ConfigError, VideoError, printable, reading_video

# To be raised if a change to this module or to `frames` changes the converted clips.
_VERSION = 1

# Decision: a clip around a key frame is as long as AVA's annotators saw.
SECONDS_BEFORE = SECONDS_AFTER = 1.5

# Decision: a video is left out if less than this fraction of its frames can be decoded.
MIN_DECODED_FRACTION = 0.5

# Decision: used if a file does not state its frame rate, which training ignores.
_DEFAULT_FPS = 25.0


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the videos of a dataset are converted.

    Attributes:
        profile: Label of an encoding profile.
        short_side: Largest short side of a frame, pixels; 0 keeps the size.

    Raises:
        ConfigError: An invalid value.
    """

    profile: str
    short_side: int

    def __post_init__(self) -> None:
        """Checks the values."""
        transcode.parse_profile(self.profile)
        if self.short_side < 0 or self.short_side == 1:
            raise ConfigError(f"--short_side={self.short_side}: give pixels, or 0 to keep the size")

    def describe(self) -> dict[str, Any]:
        """Everything that the bytes of a converted video depend on, besides its file."""
        return {
            "version": _VERSION,
            "profile": transcode.parse_profile(self.profile).label,
            "short_side": self.short_side,
            "encoder": transcode.encoder_version(),
            "options": transcode.parse_profile(self.profile).encoder_options(),
        }


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A converted video, or why there is none.

    Attributes:
        video: The encoded file; empty if the video is unreadable.
        facts: Further fields of the record, from `fps` to `encoder`, and `key_frame` if it has one.
        fingerprint: Of the original file (`mgm_jax.data.identity`).
    """

    video: bytes
    facts: dict[str, Any]
    problem: Problem | None = None
    fingerprint: str = ""


def convert(folder: str, entry: Entry, settings: Settings) -> Conversion:
    """Converts the video of an entry that has a file, below `folder`."""
    path = os.path.join(folder, entry.file)
    try:
        with reading_video(entry.file):
            video, facts, lost = _encode(path, entry, settings)
    except VideoError as error:
        return Conversion(b"", {}, Problem.of(UNREADABLE, entry, str(error)))
    problem = Problem.of(LOST_FRAMES, entry, lost) if lost else None
    return Conversion(video, facts, problem, fingerprint(path))


def _encode(
    path: str, entry: Entry, settings: Settings
) -> tuple[bytes, dict[str, Any], str | None]:
    name, profile = printable(entry.file), transcode.parse_profile(settings.profile)
    if entry.key_frame is None:
        frames = VideoFrames(path, name)
    else:
        seconds = entry.key_frame.seconds
        frames = SegmentFrames(path, name, seconds - SECONDS_BEFORE, seconds + SECONDS_AFTER)
    with frames:
        decoded = frames.read()
        first = next(decoded, None)
        if first is None:
            reason = frames.stats.error
            if reason is None and entry.key_frame is not None:
                reason = f"it has no frame around second {seconds:g}; get the whole film"
            raise VideoError(f"{name}: no frame can be decoded: {reason or 'it has none'}")
        scaler = Downscaler(first, settings.short_side, name)
        scaled: Iterable[av.VideoFrame] = map(scaler.scale, itertools.chain([first], decoded))
        if entry.key_frame is not None:
            scaled = list(scaled)  # Their rate is known when all are read.
        fps = frames.fps if math.isfinite(frames.fps) and frames.fps > 0 else _DEFAULT_FPS
        video = transcode.encode_planes(
            scaled,
            scaler.size,
            fps,
            profile,
            scaler.colours,
        )
    lost = frames.stats.describe_losses()
    if frames.stats.decoded < MIN_DECODED_FRACTION * frames.stats.expected:
        raise VideoError(f"{name}: too little of it can be read: {lost}")
    facts = {
        "fps": fps,
        "num_frames": frames.stats.decoded,
        "height": scaler.size[0],
        "width": scaler.size[1],
        "profile": profile.label,
        "encoder": transcode.encoder_version(),
    }
    if entry.key_frame is not None:
        distances = [abs(time - seconds) for time in frames.times]
        facts["key_frame"] = distances.index(min(distances))
    return video, facts, lost
