"""Which frames of a video make a clip."""

import numpy as np
from jaxtyping import Int


def training_frames(
    rng: np.random.Generator, num_frames: int, *, clip_frames: int, stride: int
) -> Int[np.ndarray, " t"]:
    """Draws one clip of evenly spaced frames with a random start.

    A video shorter than the clip's span is read from its first frame, and indices past the end
    repeat the last frame (VideoMAE's rule). A video with fewer frames than the clip is looped
    instead, one frame after the other, so that a clip never freezes for most of its length
    (*decision*).

    Args:
        rng: Source of the start position.
        num_frames: Frames in the video.
        clip_frames: Frames in the clip, T.
        stride: Distance between sampled frames, in frames.

    Returns:
        T frame indices in [0, num_frames), in presentation order.

    Raises:
        ValueError: The video has no frames.
    """
    if num_frames < 1:
        raise ValueError(f"a clip needs at least one frame, the video has {num_frames}")
    if num_frames < clip_frames:
        return np.arange(clip_frames) % num_frames
    span = (clip_frames - 1) * stride + 1
    start = rng.integers(max(num_frames - span, 0) + 1)
    return np.minimum(start + stride * np.arange(clip_frames), num_frames - 1)
