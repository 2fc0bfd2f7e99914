"""Which frames of a video make a clip.

Frames are numbered in presentation order. A video with fewer frames than the clip is looped, so
that a clip does not show the same frame for most of its length (*decision*). All functions return T
frame numbers below `num_frames`, and raise ValueError if the video has no frames.
"""

import numpy as np
from jaxtyping import Int


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
    its first frame, and the last frame repeats. The clip starts at a multiple of `start_step`.
    """
    _check(num_frames)
    if num_frames < clip_frames:
        return np.arange(clip_frames) % num_frames
    last_start = max(num_frames - clip_frames * stride, 0)
    start = start_step * rng.integers(last_start // start_step + 1)
    return np.minimum(start + stride * np.arange(clip_frames), num_frames - 1)


def training_segments(
    rng: np.random.Generator, num_frames: int, *, clip_frames: int
) -> Int[np.ndarray, " t"]:
    """Draws one frame from each of T equal segments of the video (TSN; SSv2 finetuning).

    They are num_frames // T long; the frames after the last one are not drawn (VideoMAE's rule).
    """
    _check(num_frames)
    if num_frames < clip_frames:
        return np.arange(clip_frames) % num_frames
    length = num_frames // clip_frames
    return length * np.arange(clip_frames) + rng.integers(length, size=clip_frames)


def view_frames(
    num_frames: int, *, clip_frames: int, stride: int, view: int, num_views: int
) -> Int[np.ndarray, " t"]:
    """One of several clips of evenly spaced frames, spread over the video for testing.

    VideoMAE's rule for Kinetics: of the frames 0, stride, 2 · stride, … the views start at equal
    distances from the first to the last possible start. A single view is taken from the middle
    (*decision*).
    """
    _check(num_frames)
    if num_frames < clip_frames:
        return np.arange(clip_frames) % num_frames
    candidates = np.arange(0, num_frames, stride)
    free = max(len(candidates) - clip_frames, 0)
    first = free // 2 if num_views == 1 else int(view * free / (num_views - 1))
    return candidates[np.minimum(first + np.arange(clip_frames), len(candidates) - 1)]


def view_segments(
    num_frames: int, *, clip_frames: int, view: int, num_views: int
) -> Int[np.ndarray, " t"]:
    """One of several clips with a frame from each of T equal segments, for testing.

    View `v` takes the frame at `v / num_views` of each segment: VideoMAE's two views of SSv2 take
    its start and its middle. A single view takes the middle.
    """
    _check(num_frames)
    if num_frames < clip_frames:
        return np.arange(clip_frames) % num_frames
    offset = 0.5 if num_views == 1 else view / num_views
    return ((np.arange(clip_frames) + offset) * num_frames / clip_frames).astype(np.int64)


def _check(num_frames: int) -> None:
    if num_frames < 1:
        raise ValueError(f"a clip needs at least one frame, the video has {num_frames}")
