"""Which clips of a video are read: random ones for training, fixed views for testing.

A loader is a Grain map over `(position in the global order, item)`. It reads the frames of an item
once and cuts one or more clips out of them, the *copies*: repeated augmentation in training, the
spatial views in testing. Every array of its result has a leading axis of copies.
"""

import dataclasses
from collections.abc import Callable

import grain
import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from mgm_jax.data import crops, sampling
from mgm_jax.data.clip_reader import ReadSpec, blank_clips, open_video, read_clips
from mgm_jax.data.decoding import Video
from mgm_jax.data.records import UNLABELLED, VideoRecord, VideoSource
from mgm_jax.errors import VideoError, reading_video

ERROR_BYTES = 512
"""Room for an unreadable video's error message, which is part of the batch as UTF-8 bytes."""

Drawn = tuple[Int[np.ndarray, " t"], list[crops.Crop]]
"""Frame numbers, and crops in the scaled frame."""


@dataclasses.dataclass(frozen=True)
class LoadClip(grain.transforms.RandomMap):
    """Reads training clips: which frames, which crops, the planes and the motion.

    A video that cannot be read gives zeros of the same shapes, with `valid` false and the reason in
    `error`, so everything else in the batch stays the same.

    Attributes:
        crop: `multi_scale` (random, Table 5), `random_resized` (random, Table 6) or `centre`.
        flip: Whether half of the random crops are mirrored.
        scales: Scales of the multi-scale crop.
        area: Smallest and largest area of the random resized crop, as a fraction of the frame.
        copies: Clips of the same frames with different crops (repeated augmentation).
        needs_class: Whether a video of unknown class is skipped like one that cannot be read.
    """

    source: VideoSource
    spec: ReadSpec
    crop: str = "multi_scale"
    flip: bool = False
    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    area: tuple[float, float] = (0.08, 1.0)
    copies: int = 1
    needs_class: bool = False

    @classmethod
    def from_config(
        cls, config: ConfigDict, source: VideoSource, needs_class: bool = False
    ) -> "LoadClip":
        """The loader that a run's config.data describes."""
        return cls(
            source=source,
            needs_class=needs_class,
            spec=ReadSpec.from_config(config),
            crop=config.crop,
            flip=config.flip,
            scales=tuple(config.scales),
            area=tuple(config.area),
            copies=config.repeated_augmentation,
        )

    @property
    def num_items(self) -> int:
        """Items of one epoch: the videos."""
        return len(self.source)

    def describe(self, item: int) -> str:
        """Name of the item's video."""
        return self.source.describe(item)

    def random_map(
        self, element: tuple[int, int], rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Reads the clips of one video.

        Args:
            element: (position in the global order, index of the video in the source).
            rng: Source of the start frame and the crops.

        Returns:
            With a leading axis of copies: luma uint8 `[T, side, side]` and chroma uint8
            `[T, side/2, side/2, 2]` with side = host_crop_size, crop_box float32 `[4]` (top, left,
            height, width in these pixels), frame_box (likewise, of the whole frame), flip bool,
            yuv_to_rgb float32 `[3, 4]`, motion float32 `[T, size/8, size/8, 2]` in output pixels,
            motion_valid bool `[T]`, label int32, frames int32 `[T]` (numbers in the video),
            source_box float32 `[4]` (the crop in source pixels), valid bool, index uint32 (position
            in the global order of clips), video int64 (index in the source), error uint8 `[512]`
            (UTF-8, zero-padded).
        """
        position, index = element

        def draw(video: Video, record: VideoRecord, frame_size: tuple[int, int]) -> Drawn:
            if self.needs_class and record.label == UNLABELLED:
                raise VideoError(
                    f"{self.describe(index)}: its class is not known; give it one, or leave it out"
                )
            frames = self._draw_frames(rng, video.num_frames, record.profile)
            return frames, [self._draw_crop(rng, *frame_size) for _ in range(self.copies)]

        return _load(self, position, index, draw)

    def _draw_frames(
        self, rng: np.random.Generator, num_frames: int, profile: str
    ) -> Int[np.ndarray, " t"]:
        spec = self.spec
        if spec.sampling == "segments":
            return sampling.training_segments(rng, num_frames, clip_frames=spec.clip_frames)
        return sampling.training_frames(
            rng,
            num_frames,
            clip_frames=spec.clip_frames,
            stride=spec.stride,
            start_step=sampling.start_step(profile, spec.stride),
        )

    def _draw_crop(self, rng: np.random.Generator, height: int, width: int) -> crops.Crop:
        if self.crop == "centre":
            return crops.centre_crop(height, width)
        if self.crop == "random_resized":
            return crops.random_resized_crop(rng, height, width, area=self.area, flip=self.flip)
        return crops.multi_scale_crop(
            rng, height, width, size=self.spec.size, scales=self.scales, flip=self.flip
        )


@dataclasses.dataclass(frozen=True)
class LoadViews(grain.transforms.RandomMap):
    """Reads the views of videos for testing, the same ones every time.

    Positions past the last item, which fill up the last batch, give zeros with `valid` false and
    `video` -1.

    Attributes:
        temporal_views: Clips per video along time; each is one item.
        copies: Clips per item along the frame's long side: the spatial views.
    """

    source: VideoSource
    spec: ReadSpec
    temporal_views: int = 1
    copies: int = 1

    @property
    def num_items(self) -> int:
        """Items of one pass: the temporal views of all videos."""
        return len(self.source) * self.temporal_views

    def describe(self, item: int) -> str:
        """Name of the item's video."""
        return self.source.describe(item // self.temporal_views)

    def random_map(
        self, element: tuple[int, int], rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Reads the spatial views of one temporal view; the result is as `LoadClip.random_map`'s.

        Args:
            element: (position in the global order, item); all views of a video come before those
                of the next.
            rng: Not used.
        """
        del rng
        position, item = element
        index, view = divmod(item, self.temporal_views)

        def choose(video: Video, record: VideoRecord, frame_size: tuple[int, int]) -> Drawn:
            frames = self._choose_frames(video.num_frames, view)
            return frames, crops.spatial_views(*frame_size, self.copies)

        return _load(self, position, index if position < self.num_items else -1, choose)

    def _choose_frames(self, num_frames: int, view: int) -> Int[np.ndarray, " t"]:
        spec = self.spec
        if spec.sampling == "segments":
            return sampling.view_segments(
                num_frames, clip_frames=spec.clip_frames, view=view, num_views=self.temporal_views
            )
        return sampling.view_frames(
            num_frames,
            clip_frames=spec.clip_frames,
            stride=spec.stride,
            view=view,
            num_views=self.temporal_views,
        )


ClipLoader = LoadClip | LoadViews


def _load(
    loader: ClipLoader,
    position: int,
    index: int,
    choose: Callable[[Video, VideoRecord, tuple[int, int]], Drawn],
) -> dict[str, np.ndarray]:
    """Reads the clips that `choose` picks of the video at `index`; -1 stands for no video."""
    spec, copies = loader.spec, loader.copies
    clips, error = None, b""
    if index >= 0:
        name = loader.source.describe(index)
        try:
            with reading_video(name):
                record = loader.source[index]
                with open_video(spec, record, name) as video:
                    frame_size = crops.scaled_size(video.height, video.width, spec.host_crop_size)
                    frames, chosen = choose(video, record, frame_size)
                    clips = read_clips(spec, video, record, frames, chosen, frame_size)
        except VideoError as failure:
            error = str(failure).encode(errors="backslashreplace")
    if len(error) > ERROR_BYTES:  # The name comes first, the cause last.
        half = ERROR_BYTES // 2 - 2
        error = error[:half] + b"..." + error[-half:]
    message = np.frombuffer(error.ljust(ERROR_BYTES, b"\0"), np.uint8)
    return (clips or blank_clips(spec, copies)) | {
        "valid": np.full(copies, clips is not None),
        "index": (position * copies + np.arange(copies)).astype(np.uint32),
        "video": np.full(copies, index, np.int64),
        "error": np.repeat(message[None], copies, axis=0),
    }


def error_message(error: np.ndarray) -> str:
    """The message in the field `error` of one clip; empty if it was read."""
    return error.tobytes().rstrip(b"\0").decode(errors="replace")
