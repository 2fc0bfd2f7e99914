"""What a dataset's annotations say: which videos it has, their classes and their splits."""

import dataclasses
import functools
from typing import Any

import numpy as np

from mgm_jax.errors import printable

UNLABELLED = -1

MISSING = "missing"
UNREADABLE = "unreadable"
NO_CLASS = "no class"
LOST_FRAMES = "lost frames"
SEVERAL_FILES = "several files"


@dataclasses.dataclass(frozen=True)
class DatasetOptions:
    """What the command line says about a dataset.

    Attributes:
        annotations: Folder of the annotation files, or the csv file.
        split_number: Official split of UCF101 and HMDB51, 1 to 3.
        name: Replaces the dataset's own name.
    """

    annotations: str | None = None
    split_number: int = 1
    name: str | None = None


@dataclasses.dataclass(frozen=True)
class KeyFrame:
    """An annotated moment of a longer video, as in AVA; the record is a clip around it.

    Attributes:
        seconds: From the start of the video.
        boxes: x1, y1, x2, y2 of each person, as fractions of the width and the height.
        actions: Labels of each person.
        person_ids: Identity of each person, the same in neighbouring key frames.
    """

    seconds: float
    boxes: tuple[tuple[float, ...], ...]
    actions: tuple[tuple[int, ...], ...]
    person_ids: tuple[int, ...]

    def fields(self, frame: int, num_classes: int) -> dict[str, Any]:
        """The key-frame fields of `records.record_features`; `frame` is its index in the clip."""
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


@dataclasses.dataclass(frozen=True)
class Entry:
    """One record to make.

    Attributes:
        video_id: Unique in the dataset.
        label: Class index, or `UNLABELLED`.
        file: Path of the video relative to the video folder, with slashes; None if it is missing.
        key_frame: Set if the record is a clip around one moment of a longer video.
        other_files: Further files that match; they are not used.
        group: What must not be divided between training and evaluation, if the list says so.
    """

    video_id: str
    split: str
    label: int
    file: str | None
    key_frame: KeyFrame | None = None
    other_files: tuple[str, ...] = ()
    group: str = ""


@dataclasses.dataclass(frozen=True)
class Listing:
    """A whole dataset; within a split, records have the order of the entries.

    Attributes:
        name: Used in file names: lower-case letters, digits and underscores.
        class_names: In the order of the labels.
    """

    name: str
    class_names: tuple[str, ...]
    entries: tuple[Entry, ...]
    description: str

    @functools.cached_property
    def has_key_frames(self) -> bool:
        """Whether records are clips around key frames."""
        return any(entry.key_frame is not None for entry in self.entries)


@dataclasses.dataclass(frozen=True)
class Problem:
    """What went wrong with the video of an entry.

    `MISSING` and `UNREADABLE` videos have no record; those with `NO_CLASS`, `LOST_FRAMES` or
    `SEVERAL_FILES` have one.
    """

    kind: str
    video_id: str
    split: str
    file: str | None
    reason: str

    @classmethod
    def of(cls, kind: str, entry: Entry, reason: str) -> "Problem":
        """A problem with the video of this entry."""
        file = None if entry.file is None else printable(entry.file)
        return cls(kind, entry.video_id, entry.split, file, printable(reason))


def annotation_problems(entry: Entry) -> list[Problem]:
    """Problems that are known before the video is opened: no file, several files, no class."""
    if entry.file is None:
        return [Problem.of(MISSING, entry, "no file of this name below the folder of videos")]
    problems = []
    if entry.other_files:
        reason = f"{entry.file} was taken; there are also {', '.join(entry.other_files)}"
        problems.append(Problem.of(SEVERAL_FILES, entry, reason))
    if entry.label == UNLABELLED and entry.key_frame is None:
        reason = f"the annotations give it no class: its label is {UNLABELLED}"
        problems.append(Problem.of(NO_CLASS, entry, reason))
    return problems
