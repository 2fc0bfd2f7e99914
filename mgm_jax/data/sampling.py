"""Which frames of a video make a clip.

Frames are numbered in presentation order. A video with fewer frames than the clip is looped, one
frame after the other, so that a clip never freezes for most of its length (*decision*).
"""

import numpy as np
from jaxtyping import Int


def start_step(profile: str, stride: int) -> int:
    """Of which number a training clip's start is a multiple.

    In a video prepared as `stride_aligned` nothing is predicted from the frames between multiples
    of its stride. A clip of these multiples alone decodes nothing else, and the motion of each of
    its frames is that since the one before.

    Args:
        profile: Label of the profile that data_prep encoded the video with, `stride_aligned:4`.
        stride: Distance between sampled frames, in frames.

    Returns:
        The profile's stride if it divides the clip's, otherwise 1.
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

    A video shorter than the clip's span is read from its first frame, and indices past the end
    repeat the last frame (VideoMAE's rule).

    Args:
        rng: Source of the start position.
        num_frames: Frames in the video.
        clip_frames: Frames in the clip, T.
        stride: Distance between sampled frames, in frames.
        start_step: The clip starts at a multiple of this.

    Returns:
        T frame indices in [0, num_frames), in presentation order.

    Raises:
        ValueError: The video has no frames.
    """
    _check(num_frames)
    if num_frames < clip_frames:
        return np.arange(clip_frames) % num_frames
    span = (clip_frames - 1) * stride + 1
    start = start_step * rng.integers(max(num_frames - span, 0) // start_step + 1)
    return np.minimum(start + stride * np.arange(clip_frames), num_frames - 1)


def training_segments(
    rng: np.random.Generator, num_frames: int, *, clip_frames: int
) -> Int[np.ndarray, " t"]:
    """Draws one frame from each of T equal segments of the video (TSN; SSv2 finetuning).

    Args:
        rng: Source of the frame in each segment.
        num_frames: Frames in the video.
        clip_frames: Frames in the clip, T.

    Returns:
        T frame indices in [0, num_frames), never falling; they repeat where the video is short.

    Raises:
        ValueError: The video has no frames.
    """
    _check(num_frames)
    if num_frames < clip_frames:
        return np.arange(clip_frames) % num_frames
    places = (np.arange(clip_frames) + rng.random(clip_frames)) * num_frames / clip_frames
    return places.astype(np.int64)


def view_frames(
    num_frames: int, *, clip_frames: int, stride: int, view: int, num_views: int
) -> Int[np.ndarray, " t"]:
    """One of several clips of evenly spaced frames, spread over the video for testing.

    VideoMAE's rule for Kinetics: of the frames 0, stride, 2 · stride, … the views start at equal
    distances from the first to the last possible start. A single view is taken from the middle
    (*decision*).

    Args:
        num_frames: Frames in the video.
        clip_frames: Frames in the clip, T.
        stride: Distance between sampled frames, in frames.
        view: Number of the view.
        num_views: How many views there are.

    Returns:
        T frame indices in [0, num_frames); the last repeats where the video is short.

    Raises:
        ValueError: The video has no frames.
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

    Args:
        num_frames: Frames in the video.
        clip_frames: Frames in the clip, T.
        view: Number of the view.
        num_views: How many views there are.

    Returns:
        T frame indices in [0, num_frames), never falling; they repeat where the video is short.

    Raises:
        ValueError: The video has no frames.
    """
    _check(num_frames)
    if num_frames < clip_frames:
        return np.arange(clip_frames) % num_frames
    offset = 0.5 if num_views == 1 else view / num_views
    return ((np.arange(clip_frames) + offset) * num_frames / clip_frames).astype(np.int64)


def _check(num_frames: int) -> None:
    if num_frames < 1:
        raise ValueError(f"a clip needs at least one frame, the video has {num_frames}")
