"""Videos as strips of a few frames, and which of an evaluation's videos to show."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from mgm_jax.data.centre_clips import spread
from mgm_jax.data.decoding import Video
from mgm_jax.data.records import VideoSource
from mgm_jax.errors import VideoError

_GAP = 2


def choose_examples(
    right: Bool[np.ndarray, " videos"],
    wrong: Bool[np.ndarray, " videos"],
    confidence: Float[np.ndarray, " videos"],
    predicted: Int[np.ndarray, " videos"],
    count: int,
) -> tuple[list[int], list[int]]:
    """Chooses videos to show, the same ones each time.

    Args:
        right: Videos whose class is found.
        wrong: Videos that are taken for another.
        confidence: Probability of the predicted class.
        predicted: The predicted class.
        count: How many of each kind.

    Returns:
        Right ones, evenly spaced over the videos; wrong ones, the most confident first, one per
        predicted class as long as there are such.
    """
    rights = np.flatnonzero(right)
    spaced = spread(count, len(rights))
    by_confidence = np.argsort(-confidence, kind="stable")
    wrongs = [int(video) for video in by_confidence if wrong[video]]
    seen: set[int] = set()
    first, others = [], []
    for video in wrongs:
        (others if int(predicted[video]) in seen else first).append(video)
        seen.add(int(predicted[video]))
    chosen = (first + others)[:count]
    return rights[spaced].tolist(), sorted(chosen, key=wrongs.index)


def example_strips(
    source: VideoSource, indices: Sequence[int], *, num_frames: int = 6, height: int = 96
) -> list[UInt8[np.ndarray, "height width 3"] | str]:
    """Reads some videos as strips of frames.

    Args:
        source: The videos.
        indices: Which of them.
        num_frames: Frames of a strip, evenly spaced over the video from its first to its last.
        height: Of the frames, pixels, even.

    Returns:
        For each video RGB on white, or else the reason why it cannot be read.
    """
    strips: list[UInt8[np.ndarray, "height width 3"] | str] = []
    for index in indices:
        try:
            strips.append(_strip(source, index, num_frames, height))
        except (VideoError, OSError) as error:
            strips.append(str(error))
    return strips


def _strip(
    source: VideoSource, index: int, num_frames: int, height: int
) -> UInt8[np.ndarray, "height width 3"]:
    with Video(source[index].video, name=source.describe(index)) as video:
        frames = np.linspace(0, video.num_frames - 1, num_frames).astype(int)
        # Even sizes, as 4:2:0 has them.
        width = max(2 * round(height * video.width / video.height / 2), 2)
        clip = video.read(frames, size=(height, width), motion="none")
    strip = np.full((height, num_frames * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for number, frame in enumerate(clip.to_rgb()):
        left = number * (width + _GAP)
        strip[:, left : left + width] = frame
    return strip
