"""A few frames of a video side by side."""

import numpy as np
from jaxtyping import UInt8

from mgm_jax.data.decoding import Video
from mgm_jax.data.records import VideoSource
from mgm_jax.errors import reading_video

_GAP = 2


def frame_strip(
    source: VideoSource, index: int, *, num_frames: int = 6, height: int = 96
) -> UInt8[np.ndarray, "height width 3"]:
    """Reads frames of a video, evenly spaced from its first to its last, side by side on white.

    `height` is that of the frames in pixels, and even.

    Raises:
        VideoError: The video cannot be read.
    """
    name = source.describe(index)
    with reading_video(name), Video(source[index].video, name) as video:
        frames = np.linspace(0, video.num_frames - 1, num_frames).astype(int)
        # Even sizes, as 4:2:0 needs them.
        width = max(2 * round(height * video.width / video.height / 2), 2)
        clip = video.read(frames, size=(height, width), motion="none")
    padded = np.pad(clip.to_rgb(), ((0, 0), (0, 0), (0, _GAP), (0, 0)), constant_values=255)
    return np.concatenate(list(padded), axis=1)[:, :-_GAP]
