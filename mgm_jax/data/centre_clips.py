"""Clips for pictures and measurements: cropped at the centre, with their boxes."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from absl import logging
from jaxtyping import Float
from ml_collections import ConfigDict

from mgm_jax.data import boxes
from mgm_jax.data.clips import LoadClip, error_message
from mgm_jax.data.decoding import Video
from mgm_jax.data.loader import HOST_FIELDS
from mgm_jax.data.records import VideoSource
from mgm_jax.errors import VideoError, reading_video


@dataclasses.dataclass(frozen=True)
class CentreClip:
    """One clip of a video.

    Attributes:
        name: The video's id.
        batch: The fields that travel to the device, as a batch of this one clip.
        boxes: x1, y1, x2, y2 of k objects in each frame, in pixels of the clip, NaN where one is
            absent; None if no boxes are known.
    """

    name: str
    batch: dict[str, np.ndarray]
    boxes: Float[np.ndarray, "t k 4"] | None


class CentreClips:
    """The centre clips of the videos of a source, read on request and the same every time."""

    def __init__(self, config: ConfigDict, source: VideoSource):
        load = LoadClip.from_config(config.data, source)
        self._load = dataclasses.replace(load, crop="centre", flip=False, copies=1)
        self._seed = config.seed
        self.source = source
        self.spec = load.spec

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, video: int) -> CentreClip:
        """The clip of the video at an index of the source; raises `VideoError`.

        Its start frame depends only on the config's seed and the video's length.
        """
        clip = self._load.random_map((video, video), np.random.default_rng(self._seed))
        if not clip["valid"].all():
            raise VideoError(error_message(clip["error"][0]))
        with reading_video(self.source.describe(video)):
            record = self.source[video]
            own_boxes = record.boxes
            if own_boxes is not None:
                with Video(record.video, record.video_id) as opened:
                    size, num_frames = (opened.height, opened.width), opened.num_frames
                boxes.check_boxes(own_boxes, size, num_frames, record.video_id)
                own_boxes = boxes.crop_boxes(
                    own_boxes[clip["frames"][0]],
                    clip["source_box"][0],
                    bool(clip["flip"][0]),
                    self.spec.size,
                )
        batch = {name: array for name, array in clip.items() if name not in HOST_FIELDS}
        return CentreClip(record.video_id, batch, own_boxes)

    def read(self, videos: Sequence[int]) -> list[CentreClip]:
        """The clips of the videos at some indices; those that cannot be read are left out.

        Raises:
            VideoError: None of the videos can be read.
        """
        clips, unread = [], []
        for video in videos:
            try:
                clips.append(self[video])
            except VideoError as error:
                logging.warning("left out: %s", error)
                unread.append(str(error))
        if not clips:
            raise VideoError("none of the videos can be read: " + "\n".join(unread))
        return clips


def stack(clips: Sequence[CentreClip]) -> dict[str, np.ndarray]:
    """One batch of several clips."""
    return {name: np.concatenate([clip.batch[name] for clip in clips]) for name in clips[0].batch}


def spread(count: int, total: int) -> list[int]:
    """Indices of up to `count` of `total` videos, evenly spaced from the first to the last."""
    return np.linspace(0, total - 1, min(count, total)).astype(int).tolist()
