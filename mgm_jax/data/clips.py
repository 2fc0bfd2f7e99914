"""Clips of one video as arrays of fixed shape: frames, crops and motion.

A loader is a Grain map over `(position in the global order, item)`. It reads the frames of an item
once and cuts one or more clips, the *copies*, out of them: repeated augmentation in training, the
spatial views in testing. Every array of its result has a leading axis of copies.
"""

import dataclasses
from typing import Any

import grain
import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from mgm_jax.data import crops as geometry
from mgm_jax.data import sampling
from mgm_jax.data.clip_reader import ClipReader, make_reader
from mgm_jax.data.video.reader import Video
from mgm_jax.data.video_records import VideoRecord, VideoSource
from mgm_jax.errors import VideoError

ERROR_BYTES = 512
"""Room for the message of an unreadable video, which travels in the batch as UTF-8 bytes."""


def _result(
    clips: dict[str, np.ndarray], *, copies: int, position: int, video: int, error: bytes
) -> dict[str, np.ndarray]:
    message = np.frombuffer(error[:ERROR_BYTES].ljust(ERROR_BYTES, b"\0"), np.uint8)
    return clips | {
        "valid": np.full(copies, not error and video >= 0),
        "index": (position * copies + np.arange(copies)).astype(np.uint32),
        "video": np.full(copies, video, np.int64),
        "error": np.repeat(message[None], copies, axis=0),
    }


def _read_crops(
    loader: "ClipLoader",
    video: Video,
    record: VideoRecord,
    frames: Int[np.ndarray, " t"],
    crops: list[geometry.Crop],
    frame_size: tuple[int, int],
) -> dict[str, np.ndarray]:
    """Reads clips whose key frames show the map of the sampled frame before.

    With segments, whose distances differ, they show that of the frame before.
    """
    crops, frame_size = geometry.fit_window(crops, frame_size, loader.reader.window)
    distance = 1 if loader.sampling == "segments" else loader.stride
    return loader.reader.read(video, record, frames, crops, frame_size, lender_distance=distance)


@dataclasses.dataclass(frozen=True)
class LoadClip(grain.transforms.RandomMap):
    """Reads training clips: which frames, which crops, the planes and the motion.

    A video that cannot be read yields zeros with `valid` false and the reason in `error`, in the
    same structure, so that the order and the shapes of everything else stay as they were.

    Attributes:
        source: The videos; one item each.
        reader: Reads the clips.
        stride: Distance between sampled frames, frames; `segments` sampling has none.
        sampling: `dense` (evenly spaced, random start) or `segments` (one frame from each of T
            equal parts of the video, TSN).
        crop: `multi_scale` (random, Table 5), `random_resized` (random, Table 6) or `centre`.
        flip: Whether half of the random crops are mirrored.
        scales: Scales of the multi-scale crop.
        area: Smallest and largest area of the random resized crop, as a fraction of the frame.
        copies: Clips of the same frames with different crops (repeated augmentation).
    """

    source: VideoSource
    reader: ClipReader
    stride: int
    sampling: str = "dense"
    crop: str = "multi_scale"
    flip: bool = False
    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    area: tuple[float, float] = (0.08, 1.0)
    copies: int = 1

    @property
    def num_items(self) -> int:
        """Items of one epoch: the videos."""
        return len(self.source)

    def describe(self, item: int) -> str:
        """Name of the video of an item."""
        return self.source.describe(item)

    def random_map(
        self, element: tuple[int, int], rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Reads the clips of one video.

        Args:
            element: (position in the global order, index of the video in the source).
            rng: Source of the start frame and the crops, owned by the position.

        Returns:
            With a leading axis of copies: luma uint8 `[T, window, window]`, chroma uint8
            `[T, window/2, window/2, 2]`, crop_box float32 `[4]` (top, left, height, width in
            window pixels), flip bool, yuv_to_rgb float32 `[3, 4]`, motion float32
            `[T, size/8, size/8, 2]` in output pixels, motion_valid bool `[T]`, label int32, frames
            int32 `[T]` (numbers in the video), source_box float32 `[4]` (the crop in source
            pixels), valid bool, index uint32 (place in the global order of clips), video int64
            (index in the source), error uint8 `[512]` (UTF-8, zero-padded).
        """
        position, video = element
        try:
            clips, error = self._read(video, rng), b""
        except (VideoError, OSError) as failure:
            clips, error = self.reader.blank(self.copies), str(failure).encode()
        return _result(clips, copies=self.copies, position=position, video=video, error=error)

    def _read(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        record = self.source[index]
        with self.reader.open(record, self.source.describe(index)) as video:
            frames = self._draw_frames(rng, video.num_frames, record.profile)
            frame_size = geometry.scaled_size(video.height, video.width, self.reader.window)
            crops = [self._draw_crop(rng, *frame_size) for _ in range(self.copies)]
            return _read_crops(self, video, record, frames, crops, frame_size)

    def _draw_frames(
        self, rng: np.random.Generator, num_frames: int, profile: str
    ) -> Int[np.ndarray, " t"]:
        clip_frames = self.reader.clip_frames
        if self.sampling == "segments":
            return sampling.training_segments(rng, num_frames, clip_frames=clip_frames)
        return sampling.training_frames(
            rng,
            num_frames,
            clip_frames=clip_frames,
            stride=self.stride,
            start_step=sampling.start_step(profile, self.stride),
        )

    def _draw_crop(self, rng: np.random.Generator, height: int, width: int) -> geometry.Crop:
        if self.crop == "centre":
            return geometry.centre_crop(height, width)
        if self.crop == "random_resized":
            return geometry.random_resized_crop(rng, height, width, scale=self.area, flip=self.flip)
        return geometry.multi_scale_crop(
            rng, height, width, size=self.reader.size, scales=self.scales, flip=self.flip
        )


@dataclasses.dataclass(frozen=True)
class LoadViews(grain.transforms.RandomMap):
    """Reads the views of videos for testing, always the same ones.

    Positions past the last item, which fill the last batch, yield zeros with `valid` false and
    `video` -1.

    Attributes:
        source: The videos.
        reader: Reads the clips.
        stride: As `LoadClip.stride`.
        sampling: As `LoadClip.sampling`.
        temporal_views: Clips per video along time; each is one item.
        copies: Clips per item, along the frame's long side: the spatial views.
    """

    source: VideoSource
    reader: ClipReader
    stride: int
    sampling: str = "dense"
    temporal_views: int = 1
    copies: int = 1

    @property
    def num_items(self) -> int:
        """Items of one pass: the temporal views of all videos."""
        return len(self.source) * self.temporal_views

    def describe(self, item: int) -> str:
        """Name of the video of an item."""
        return self.source.describe(item // self.temporal_views)

    def random_map(
        self, element: tuple[int, int], rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Reads the spatial views of one temporal view; see `LoadClip.random_map`.

        Args:
            element: (position in the global order, item); items count the views of a video before
                those of the next.
            rng: Not used.

        Returns:
            As `LoadClip.random_map`.
        """
        del rng
        position, item = element
        if position >= self.num_items:
            blank = self.reader.blank(self.copies)
            return _result(blank, copies=self.copies, position=position, video=-1, error=b"")
        index, view = divmod(item, self.temporal_views)
        try:
            clips, error = self._read(index, view), b""
        except (VideoError, OSError) as failure:
            clips, error = self.reader.blank(self.copies), str(failure).encode()
        return _result(clips, copies=self.copies, position=position, video=index, error=error)

    def _read(self, index: int, view: int) -> dict[str, np.ndarray]:
        record = self.source[index]
        which: dict[str, Any] = {
            "clip_frames": self.reader.clip_frames,
            "view": view,
            "num_views": self.temporal_views,
        }
        with self.reader.open(record, self.source.describe(index)) as video:
            if self.sampling == "segments":
                frames = sampling.view_segments(video.num_frames, **which)
            else:
                frames = sampling.view_frames(video.num_frames, stride=self.stride, **which)
            frame_size = geometry.scaled_size(video.height, video.width, self.reader.window)
            crops = geometry.spatial_views(*frame_size, self.copies)
            return _read_crops(self, video, record, frames, crops, frame_size)


ClipLoader = LoadClip | LoadViews


def make_clip_loader(config: ConfigDict, source: VideoSource) -> LoadClip:
    """The loader of training clips that a config describes.

    Args:
        config: The run's config.data.
        source: The videos.

    Returns:
        The loader.
    """
    names = ("stride", "sampling", "crop", "flip")
    return LoadClip(
        source=source,
        reader=make_reader(config),
        scales=tuple(config.scales),
        area=tuple(config.area),
        copies=config.repeated_augmentation,
        **{name: config[name] for name in names},
    )
