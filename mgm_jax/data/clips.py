"""One training clip: a video's frames, crop and motion as arrays of fixed shape."""

import dataclasses

import grain
import numpy as np
from ml_collections import ConfigDict

from mgm_jax.data import geometry, sampling
from mgm_jax.data.sources import UNLABELLED, VideoSource
from mgm_jax.data.video import Video
from mgm_jax.errors import VideoError

ERROR_BYTES = 512
"""Room for the message of an unreadable video, which travels in the batch as UTF-8 bytes."""


@dataclasses.dataclass(frozen=True)
class LoadClip(grain.transforms.RandomMap):
    """Reads the clip of one draw: which frames, which crop, the planes and the motion.

    A video that cannot be read yields zeros with `valid` false and the reason in `error`, in the
    same structure, so that the order and the shapes of everything else stay as they were.

    Attributes:
        source: The videos.
        clip_frames: Frames of the clip, T.
        stride: Distance between sampled frames, frames.
        size: Side of the output clip, pixels.
        window: Side of the luma window that travels to the device, pixels.
        crop: `multi_scale` (random, Table 5) or `centre` (the central square).
        flip: Whether half of the multi-scale crops are mirrored.
        scales: Scales of the multi-scale crop.
        motion: Where motion comes from: `codec`, `estimate`, `auto` or `none`.
    """

    source: VideoSource
    clip_frames: int
    stride: int
    size: int
    window: int
    crop: str = "multi_scale"
    flip: bool = False
    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    motion: str = "auto"

    def random_map(
        self, element: tuple[int, int], rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Reads one clip.

        Args:
            element: (position in the global order, index of the video in the source).
            rng: Source of the start frame and the crop, owned by the position.

        Returns:
            luma uint8 `[T, window, window]`, chroma uint8 `[T, window/2, window/2, 2]`,
            crop_box float32 `[4]` (top, left, height, width in window pixels), flip bool,
            yuv_to_rgb float32 `[3, 4]`, motion float32 `[T, size/8, size/8, 2]` in output pixels,
            motion_valid bool `[T]`, valid bool, label int32, index uint32 (the position),
            video int64 (index in the source), error uint8 `[512]` (UTF-8, zero-padded).
        """
        position, video = element
        try:
            clip = self._read(video, rng)
            error = b""
        except (VideoError, OSError) as failure:
            clip = self._blank()
            error = str(failure).encode()[:ERROR_BYTES]
        return clip | {
            "valid": np.bool_(not error),
            "index": np.uint32(position),
            "video": np.int64(video),
            "error": np.frombuffer(error.ljust(ERROR_BYTES, b"\0"), np.uint8),
        }

    def _read(self, video_index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        record = self.source[video_index]
        with Video(record.video, name=self.source.describe(video_index)) as video:
            frames = sampling.training_frames(
                rng, video.num_frames, clip_frames=self.clip_frames, stride=self.stride
            )
            source_size = (video.height, video.width)
            frame_size = geometry.scaled_size(*source_size, self.window)
            crop = self._draw_crop(rng, *frame_size)
            region = geometry.window_region(crop, self.window)
            decoded = video.read(
                frames,
                size=None if frame_size == source_size else frame_size,
                region=region,
                motion=self.motion,
            )
        motion = geometry.crop_motion(
            decoded.motion, crop, source_size=source_size, frame_size=frame_size, size=self.size
        )
        box = (crop.top - region[0], crop.left - region[1], crop.height, crop.width)
        return {
            "luma": decoded.luma,
            "chroma": decoded.chroma,
            "crop_box": np.array(box, np.float32),
            "flip": np.bool_(crop.flip),
            "yuv_to_rgb": decoded.yuv_to_rgb,
            "motion": motion,
            "motion_valid": decoded.motion_valid,
            "label": np.int32(record.label),
        }

    def _draw_crop(self, rng: np.random.Generator, height: int, width: int) -> geometry.Crop:
        if self.crop == "centre":
            return geometry.centre_crop(height, width)
        return geometry.multi_scale_crop(
            rng, height, width, size=self.size, scales=self.scales, flip=self.flip
        )

    def _blank(self) -> dict[str, np.ndarray]:
        frames, half, cells = self.clip_frames, self.window // 2, self.size // geometry.MOTION_CELL
        return {
            "luma": np.zeros((frames, self.window, self.window), np.uint8),
            "chroma": np.zeros((frames, half, half, 2), np.uint8),
            "crop_box": np.array([0, 0, self.window, self.window], np.float32),
            "flip": np.bool_(False),
            "yuv_to_rgb": np.zeros((3, 4), np.float32),
            "motion": np.zeros((frames, cells, cells, 2), np.float32),
            "motion_valid": np.zeros(frames, bool),
            "label": np.int32(UNLABELLED),
        }


def make_clip_loader(config: ConfigDict, source: VideoSource) -> LoadClip:
    """The reader of clips that a config describes.

    Args:
        config: The run's `config.data`.
        source: The videos.

    Returns:
        The reader.
    """
    names = ("clip_frames", "stride", "size", "window", "crop", "flip", "motion")
    settings = {name: config[name] for name in names}
    return LoadClip(source=source, scales=tuple(config.scales), **settings)
