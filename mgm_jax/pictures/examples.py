"""Examples of an evaluation: which videos to show, and their frames side by side."""

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from mgm_jax.data.centre_clips import spread
from mgm_jax.data.video.reader import Video
from mgm_jax.data.video_records import VideoSource

_GAP = 2


def choose_examples(
    correct: Bool[np.ndarray, " videos"],
    wrong: Bool[np.ndarray, " videos"],
    confidence: Float[np.ndarray, " videos"],
    predicted: Int[np.ndarray, " videos"],
    count: int,
) -> tuple[list[int], list[int]]:
    """Chooses correctly and wrongly classified videos, the same ones each time.

    Args:
        correct: Videos whose true class is predicted.
        wrong: Videos for which another class is predicted.
        confidence: Probability of the predicted class.
        predicted: The predicted class.
        count: How many of each kind at most.

    Returns:
        Correct ones, evenly spaced over the videos; wrong ones by falling confidence, with
        different predicted classes as far as there are.
    """
    all_correct = np.flatnonzero(correct)
    by_confidence = [int(video) for video in np.argsort(-confidence, kind="stable") if wrong[video]]
    seen: set[int] = set()
    repeated = []
    for video in by_confidence:
        repeated.append(int(predicted[video]) in seen)
        seen.add(int(predicted[video]))
    # The sort is stable: within first and repeated ones, the order stays that of confidence.
    places = sorted(range(len(repeated)), key=repeated.__getitem__)[:count]
    return (
        all_correct[spread(count, len(all_correct))].tolist(),
        [by_confidence[place] for place in sorted(places)],
    )


def frame_strip(
    source: VideoSource, index: int, *, num_frames: int = 6, height: int = 96
) -> UInt8[np.ndarray, "height width 3"]:
    """Reads frames of a video, evenly spaced from its first to its last, side by side on white.

    Args:
        source: The videos.
        index: Which one.
        num_frames: How many frames.
        height: Of the frames, pixels, even.

    Raises:
        VideoError: The video cannot be read.
    """
    with Video(source[index].video, name=source.describe(index)) as video:
        frames = np.linspace(0, video.num_frames - 1, num_frames).astype(int)
        # Even sizes, as 4:2:0 needs them.
        width = max(2 * round(height * video.width / video.height / 2), 2)
        clip = video.read(frames, size=(height, width), motion="none")
    padded = np.pad(clip.to_rgb(), ((0, 0), (0, 0), (0, _GAP), (0, 0)), constant_values=255)
    return np.concatenate(list(padded), axis=1)[:, :-_GAP]
