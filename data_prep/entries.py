"""What a dataset's annotations say: which videos there are, of which class, in which split."""

import dataclasses
import functools
from typing import Any

from data_prep.key_frames import KeyFrame
from data_prep.records import UNLABELLED

MISSING = "missing"
UNREADABLE = "unreadable"
NO_CLASS = "no class"
LOST_FRAMES = "lost frames"
SEVERAL_FILES = "several files"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One record to be made.

    Attributes:
        video_id: Unique in the dataset.
        split: Name of the split.
        label: Class index, or `UNLABELLED`.
        file: Path of the video below the folder of videos, with slashes; None if it is not there.
        key_frame: Set where a record is a clip around one annotated moment of a longer video.
        other_files: Further files that could be meant; they are not used.
    """

    video_id: str
    split: str
    label: int
    file: str | None
    key_frame: KeyFrame | None = None
    other_files: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Listing:
    """A whole dataset, as its annotations give it.

    Attributes:
        name: In file names: lower-case letters, digits and underscores.
        class_names: In the order of the labels.
        entries: In the order of the annotations; of each split, this is the order of the records.
        description: What the dataset is, for a reader.
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
    """Something to be told about one video.

    Attributes:
        kind: `MISSING` and `UNREADABLE` videos have no record; those with `NO_CLASS`,
            `LOST_FRAMES` or `SEVERAL_FILES` have one.
        video_id: Of the entry.
        split: Of the entry.
        file: Below the folder of videos; None if there is none.
        reason: A sentence.
    """

    kind: str
    video_id: str
    split: str
    file: str | None
    reason: str

    @classmethod
    def of(cls, kind: str, entry: Entry, reason: str) -> "Problem":
        """A problem with the video of an entry."""
        return cls(kind, entry.video_id, entry.split, entry.file, reason)

    def to_json(self) -> dict[str, Any]:
        """The fields, as JSON holds them."""
        return dataclasses.asdict(self)


def listed_problems(entry: Entry) -> list[Problem]:
    """What can be told of an entry before its video is opened.

    Args:
        entry: Any.

    Returns:
        Problems: no file, several files, no class.
    """
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
