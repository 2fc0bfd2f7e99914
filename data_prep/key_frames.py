"""Annotated moments of longer videos, as AVA has them."""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class KeyFrame:
    """An annotated moment of a longer video, of which the record is a clip.

    Attributes:
        seconds: From the start of the video.
        boxes: x1, y1, x2, y2 of each person, in shares of the width and the height.
        actions: Labels of each person.
        person_ids: The annotators' number of each person, the same over neighbouring key frames.
    """

    seconds: float
    boxes: tuple[tuple[float, ...], ...]
    actions: tuple[tuple[int, ...], ...]
    person_ids: tuple[int, ...]

    def fields(self, frame: int, num_classes: int) -> dict[str, Any]:
        """The fields that a record has beyond the others, see `records.record_features`.

        Args:
            frame: number of the frame in the clip.
            num_classes: of the dataset.

        Returns:
            The values by name.
        """
        actions = np.zeros((len(self.boxes), num_classes), np.uint8)
        for person, labels in enumerate(self.actions):
            actions[person, list(labels)] = 1
        return {
            "key_frame": frame,
            "key_seconds": self.seconds,
            "key_boxes": np.asarray(self.boxes, np.float32).reshape(-1, 4),
            "key_actions": actions,
            "key_person_ids": np.asarray(self.person_ids, np.int64),
        }
