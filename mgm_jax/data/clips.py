"""Which clips of a video are read: random ones for training, fixed views for testing.

A loader is given `(position in the global order, item)`. It reads the frames of an item
once and cuts one or more clips out of them, the *copies*: repeated augmentation in training, the
spatial views in testing. Every array of its result has a leading axis of copies.
"""

import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from mgm_jax.data import crops, sampling
from mgm_jax.data.clip_reader import ReadSpec, blank_clips, read_clips
from mgm_jax.data.decoding import Video
from mgm_jax.data.records import UNLABELLED, VideoSource
from mgm_jax.errors import VideoError, reading_video

ERROR_BYTES = 512
"""Room for an unreadable video's error message, which is part of the batch as UTF-8 bytes."""


@dataclasses.dataclass(frozen=True)
class LoadTransform:
    """The Grain transform from an item to its clips: what training and testing have in common.

    A video that cannot be read gives zeros of the same shapes, with `valid` false and the reason in
    `error`, so everything else in the batch stays the same.

    Attributes:
        copies: Clips of the same frames with different crops.
        temporal_views: Clips per video along time; each is one item, and all of a video come before
            those of the next.
        needs_class: Whether a video of unknown class is skipped like one that cannot be read.
        repeats: Whether items are read again in later epochs. If not, positions past the last item,
            which fill up the last batch, give zeros with `valid` false and `video` -1.
    """

    source: VideoSource
    spec: ReadSpec
    _: dataclasses.KW_ONLY
    copies: int = 1
    temporal_views: int = 1
    needs_class: bool = False
    repeats: ClassVar[bool] = True

    @property
    def num_items(self) -> int:
        """Items of one epoch: the temporal views of all videos."""
        return len(self.source) * self.temporal_views

    def describe(self, item: int) -> str:
        """Name of the item's video."""
        return self.source.describe(item // self.temporal_views)

    def random_map(
        self, element: tuple[int, int], rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Reads the clips of one item.

        Args:
            element: (position in the global order, item).
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
        position, item = element
        index, view = divmod(item, self.temporal_views)
        if not self.repeats and position >= self.num_items:
            index = -1
        clips, error = None, b""
        if index >= 0:
            try:
                with reading_video(self.source.describe(index)):
                    clips = self._read(index, view, rng)
            except VideoError as failure:
                error = str(failure).encode(errors="backslashreplace")
        if len(error) > ERROR_BYTES:  # The name comes first, the cause last.
            half = ERROR_BYTES // 2 - 2
            error = error[:half] + b"..." + error[-half:]
        message = np.frombuffer(error.ljust(ERROR_BYTES, b"\0"), np.uint8)
        return (clips or self.blank()) | {
            "valid": np.full(self.copies, clips is not None),
            "index": (position * self.copies + np.arange(self.copies)).astype(np.uint32),
            "video": np.full(self.copies, index, np.int64),
            "error": np.repeat(message[None], self.copies, axis=0),
        }

    def blank(self) -> dict[str, np.ndarray]:
        """Zeros in the structure of a video's clips."""
        return blank_clips(self.spec, self.copies)

    def _read(self, index: int, view: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        spec, record, name = self.spec, self.source[index], self.source.describe(index)
        if self.needs_class and record.label == UNLABELLED:
            raise VideoError(f"{name}: its class is not known; give it one, or leave it out")
        with Video(record.video, name, spec.allow_damage) as video:
            frame_size = crops.scaled_size(video.height, video.width, spec.host_crop_size)
            if video.num_frames < spec.clip_frames:
                frames = sampling.looped_frames(video.num_frames, clip_frames=spec.clip_frames)
            else:
                frames = self._choose_frames(rng, video.num_frames, record.profile, view)
            chosen = self.choose_crops(rng, *frame_size)
            return read_clips(spec, video, record, frames, chosen, frame_size)

    def _choose_frames(
        self, rng: np.random.Generator, num_frames: int, profile: str, view: int
    ) -> Int[np.ndarray, " t"]:
        raise NotImplementedError

    def choose_crops(self, rng: np.random.Generator, height: int, width: int) -> list[crops.Crop]:
        """The crop of each copy in a frame of this size."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class LoadClip(LoadTransform):
    """Reads training clips: random frames and crops.

    Attributes:
        crop: `multi_scale` (random, Table 5), `random_resized` (random, Table 6), `random_square`
            (random, of AVA) or `centre`.
        flip: Whether half of the crops are mirrored.
        scales: Scales of the multi-scale crop and of the random square.
        area: Smallest and largest area of the random resized crop, as a fraction of the frame.
    """

    crop: str = "multi_scale"
    flip: bool = False
    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    area: tuple[float, float] = (0.08, 1.0)

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

    def _choose_frames(
        self, rng: np.random.Generator, num_frames: int, profile: str, view: int
    ) -> Int[np.ndarray, " t"]:
        length, stride = self.spec.clip_frames, self.spec.stride
        if self.spec.sampling == "segments":
            num_frames -= num_frames % length  # VideoMAE's segments leave out the rest.
            return sampling.segment_frames(num_frames, rng.random(length), clip_frames=length)
        step = sampling.start_step(profile, stride)
        return sampling.training_frames(
            rng, num_frames, clip_frames=length, stride=stride, start_step=step
        )

    def choose_crops(self, rng: np.random.Generator, height: int, width: int) -> list[crops.Crop]:
        """Random ones."""
        return [self._draw_crop(rng, height, width) for _ in range(self.copies)]

    def _draw_crop(self, rng: np.random.Generator, height: int, width: int) -> crops.Crop:
        if self.crop == "centre":
            return crops.centre_crop(height, width, self.flip and bool(rng.random() < 0.5))
        if self.crop == "random_resized":
            return crops.random_resized_crop(rng, height, width, area=self.area, flip=self.flip)
        if self.crop == "random_square":
            return crops.random_square(rng, height, width, scales=self.scales, flip=self.flip)
        return crops.multi_scale_crop(
            rng, height, width, size=self.spec.size, scales=self.scales, flip=self.flip
        )


@dataclasses.dataclass(frozen=True)
class LoadViews(LoadTransform):
    """Reads the views of videos for testing, the same ones every time.

    The copies are the spatial views: crops along the frame's long side.
    """

    repeats: ClassVar[bool] = False

    def _choose_frames(
        self, rng: np.random.Generator, num_frames: int, profile: str, view: int
    ) -> Int[np.ndarray, " t"]:
        length, views = self.spec.clip_frames, self.temporal_views
        if self.spec.sampling == "segments":
            offset = 0.5 if views == 1 else view / views
            return sampling.segment_frames(num_frames, offset, clip_frames=length)
        return sampling.view_frames(
            num_frames, clip_frames=length, stride=self.spec.stride, view=view, num_views=views
        )

    def choose_crops(self, rng: np.random.Generator, height: int, width: int) -> list[crops.Crop]:
        """The spatial views."""
        return crops.spatial_views(height, width, self.copies)


def error_message(error: np.ndarray) -> str:
    """The message in the field `error` of one clip; empty if it was read."""
    return error.tobytes().rstrip(b"\0").decode(errors="replace")
