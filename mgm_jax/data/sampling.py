"""Which frames of a video make a clip.

Frames are numbered in presentation order. All functions return T frame numbers below `num_frames`;
all but `looped_frames` ask for at least T frames.
"""

import numpy as np
from jaxtyping import Float, Int


def start_step(profile: str, stride: int) -> int:
    """The number that a training clip's start is a multiple of.

    It is 4 for a video that data_prep encoded with the profile `stride_aligned:4`, if 4 divides the
    clip's stride, and otherwise 1. No frame of such a video is predicted from one between the
    multiples of 4. A clip that consists of multiples decodes no other frame, and its codec motion
    is that between its frames.
    """
    name, _, reference_stride = profile.partition(":")
    if name != "stride_aligned" or stride % int(reference_stride):
        return 1
    return int(reference_stride)


def training_frames(
    rng: np.random.Generator,
    num_frames: int,
    *,
    clip_frames: int,
    stride: int,
    start_step: int = 1,
) -> Int[np.ndarray, " t"]:
    """Draws one clip of evenly spaced frames with a random start.

    As in VideoMAE's pretraining, T · stride frames follow the start, or else the video is read from
    its first frame. Then its last frame repeats (in VideoMAE the last of those at the stride). The
    clip starts at a multiple of `start_step`.
    """
    last_start = max(num_frames - clip_frames * stride, 0)
    start = start_step * rng.integers(last_start // start_step + 1)
    return np.minimum(start + stride * np.arange(clip_frames), num_frames - 1)


def view_frames(
    num_frames: int, *, clip_frames: int, stride: int, view: int, num_views: int
) -> Int[np.ndarray, " t"]:
    """One of several clips of evenly spaced frames, spread over the video for testing.

    VideoMAE's rule for Kinetics: of the frames 0, stride, 2 · stride, … the views start at equal
    distances from the first to the last possible start. A single view is taken from the middle
    (*decision*).
    """
    candidates = np.arange(0, num_frames, stride)
    free = max(len(candidates) - clip_frames, 0)
    first = free // 2 if num_views == 1 else int(view * free / (num_views - 1))
    return candidates[np.minimum(first + np.arange(clip_frames), len(candidates) - 1)]


def segment_frames(
    num_frames: int, offset: float | Float[np.ndarray, " t"], *, clip_frames: int
) -> Int[np.ndarray, " t"]:
    """One frame from each of T equal segments of the video (TSN; SSv2).

    `offset` is its place in the segment, from 0 to below 1: random in training. Of VideoMAE's two
    views for testing, one takes the segments' starts and one their middles.
    """
    places = (np.arange(clip_frames) + offset) * num_frames / clip_frames
    return places.astype(np.int64)


def looped_frames(num_frames: int, *, clip_frames: int) -> Int[np.ndarray, " t"]:
    """All frames of a video that has fewer than the clip, over and over.

    So a clip does not show the same frame for most of its length (*decision*).
    """
    return np.arange(clip_frames) % num_frames
