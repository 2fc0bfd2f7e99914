"""Key frames joined with the boxes that a detector found in them."""

import collections
import dataclasses
from typing import cast

import numpy as np
from absl import logging

from mgm_jax.data.ava_files import BoxRows, film_of, read_rows
from mgm_jax.data.records import VideoRecord, VideoSource
from mgm_jax.data.subsets import SubsetSource
from mgm_jax.errors import ConfigError, VideoError

_NAMED = 3


class DetectedSource(SubsetSource):
    """A source of key frames, with the detected boxes of a csv file (`ava_files`).

    Rows of one box with several actions are one box; the actions are not used.

    Args:
        source: Key frames, whose ids are those of `ava_files.key_frame_name`.
        file: The detections.
        score: Less sure detections are left out.
        flag: The flag that names the file, for messages.
        max_boxes: Most boxes that a key frame may have; None for any number.

    Raises:
        ConfigError: The file cannot be read, says nothing about a film of the source, has no box
            that is sure enough, or more in a key frame than `max_boxes`.
    """

    def __init__(
        self, source: VideoSource, file: str, score: float, flag: str, max_boxes: int | None = None
    ):
        super().__init__(source, np.arange(len(source)))
        rows = read_rows(file, flag, "detections")
        names = [facts.name for facts in source.facts()]
        known = {film_of(name) for name in rows.images}
        missing = sorted({film_of(name) for name in names} - known)
        if missing:
            raise ConfigError(
                f"{flag}: {file} has no detections in {len(missing)} of the films, among them "
                f"{', '.join(missing[:_NAMED])}; it is of {', '.join(sorted(known)[:_NAMED])}, …. "
                "Give the detections of these films; a line 'film,second' alone says that a key "
                "frame has none"
            )
        self._boxes = _by_image(rows, score)
        unsure = int((rows.scores < score).sum())
        if unsure:
            logging.info(
                "%s: %d of %d boxes have a score below %g and are left out (detection_score)",
                *(flag, unsure, len(rows.scores), score),
            )
        others = sorted(self._boxes.keys() - set(names))
        if others:
            logging.info(
                "%s: %d key frames with boxes are not in the data, such as %s, and are left out. "
                "AVA's own evaluation counts boxes where nobody is annotated as wrong",
                *(flag, len(others), others[0]),
            )
        counts = [(len(self._boxes.get(name, ())), name) for name in names]
        most, name = max(counts)
        if most > (max_boxes or most):
            raise ConfigError(
                f"{flag}: {file} has {most} boxes in {name}, more than config.data.max_boxes="
                f"{max_boxes}; raise it, or the score"
            )
        if not most:
            raise ConfigError(
                f"{flag}: none of the {len(rows.image)} boxes of {file} is of these key frames and "
                f"has a score of at least {score:g} (config.data or eval.detection_score)"
            )

    def __getitem__(self, index: int) -> VideoRecord:
        """The key frame at a position, with its detected boxes."""
        record = super().__getitem__(index)
        if record.key is None:
            raise VideoError(f"{record.video_id}: it has no key frame; prepare it as AVA")
        found = self._boxes.get(record.video_id, np.zeros((0, 5), np.float32))
        key = dataclasses.replace(record.key, detected=found[:, :4], scores=found[:, 4])
        return dataclasses.replace(record, key=key)


def _by_image(rows: BoxRows, score: float) -> dict[str, np.ndarray]:
    """x1, y1, x2, y2 and score of the boxes of each key frame, each box once."""
    found = collections.defaultdict[str, dict[tuple[float, ...], float]](dict)
    for image, box, sure in zip(rows.image.tolist(), rows.boxes.tolist(), rows.scores, strict=True):
        if sure >= score:
            boxes = found[rows.images[image]]
            boxes[tuple(box)] = max(cast(float, sure), boxes.get(tuple(box), 0.0))
    return {
        name: np.array([(*box, sure) for box, sure in boxes.items()], np.float32)
        for name, boxes in found.items()
    }
