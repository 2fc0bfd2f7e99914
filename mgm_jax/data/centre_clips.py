"""Clips to look at and to measure: of chosen videos, cropped at the centre, with their boxes."""

import dataclasses

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from mgm_jax.data import boxes
from mgm_jax.data.clips import make_clip_loader
from mgm_jax.data.loader import HOST_FIELDS
from mgm_jax.data.video_records import VideoSource
from mgm_jax.errors import VideoError


@dataclasses.dataclass(frozen=True)
class CentreClip:
    """One clip.

    Attributes:
        name: The video's id.
        batch: The fields that travel to the device, as a batch of this one clip.
        boxes: x1, y1, x2, y2 of k things in each frame, in pixels of the clip, NaN where one is
            absent; None where nothing is known.
    """

    name: str
    batch: dict[str, np.ndarray]
    boxes: Float[np.ndarray, "t k 4"] | None


class CentreClips:
    """Reads the clip of any video of a source, the same one each time.

    Attributes:
        source: The videos.
        reader: How their clips are read.
    """

    def __init__(self, config: ConfigDict, source: VideoSource):
        """Nothing is read yet.

        Args:
            config: The run's config.
            source: The videos.
        """
        data = config.data.copy_and_resolve_references()
        data.update({"crop": "centre", "repeated_augmentation": 1})
        self._load = make_clip_loader(data, source)
        self._seed = config.seed
        self.source = source
        self.reader = self._load.reader

    def __len__(self) -> int:
        """Number of videos."""
        return len(self.source)

    def __getitem__(self, video: int) -> CentreClip:
        """Reads the clip of a video.

        Args:
            video: Index in the source.

        Returns:
            The clip; its start frame depends on the config's seed and the video's length alone.

        Raises:
            VideoError: The video cannot be read.
        """
        clip = self._load.random_map((video, video), np.random.default_rng(self._seed))
        if not clip["valid"].all():
            raise VideoError(clip["error"][0].tobytes().rstrip(b"\0").decode(errors="replace"))
        record = self.source[video]
        own_boxes = record.boxes
        if own_boxes is not None:
            own_boxes = boxes.crop_boxes(
                boxes.boxes_at(own_boxes, clip["frames"][0]),
                clip["source_box"][0],
                bool(clip["flip"][0]),
                self.reader.size,
            )
        batch = {name: array for name, array in clip.items() if name not in HOST_FIELDS}
        return CentreClip(record.video_id, batch, own_boxes)


def spread(count: int, total: int) -> list[int]:
    """Indices of up to `count` of `total` videos, evenly spaced from the first to the last."""
    return np.linspace(0, total - 1, min(count, total)).astype(int).tolist()
