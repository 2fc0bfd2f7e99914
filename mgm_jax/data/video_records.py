"""What the pipeline knows of a video before it is opened.

A source is a sequence of `VideoRecord`s with names for messages. It is small, picklable and
imports no jax: it travels to the worker processes.
"""

import dataclasses
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

UNLABELLED = -1
"""In the place of the number of a class."""


@dataclasses.dataclass(frozen=True)
class VideoRecord:
    """One video: its file or its bytes, its name for people, its class.

    Attributes:
        video: Path of the file, or its bytes.
        video_id: Name, unique in the source.
        label: Number of the class, or `UNLABELLED`.
        boxes: Where something is known of what the video is about: x1, y1, x2, y2 of k things in
            each frame, in source pixels (see `boxes`), NaN where one is absent.
        profile: Label of the profile that data_prep encoded it with; empty for other files.
    """

    video: str | bytes
    video_id: str
    label: int
    boxes: Float32[np.ndarray, "num_frames k 4"] | None = dataclasses.field(
        default=None, compare=False
    )
    profile: str = ""


@runtime_checkable
class VideoSource(Protocol):
    """A sequence of videos with named classes."""

    class_names: tuple[str, ...]

    def __len__(self) -> int:
        """Number of videos."""
        ...

    def __getitem__(self, index: int) -> VideoRecord:
        """The video at a position; raises `VideoError` where it cannot be read."""
        ...

    def describe(self, index: int) -> str:
        """A name that leads a person to the video, without reading it."""
        ...
