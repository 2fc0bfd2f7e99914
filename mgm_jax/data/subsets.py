"""Some videos of a source; slices of its splits, in the notation of tensorflow-datasets."""

import re

import numpy as np
from jaxtyping import Int

from mgm_jax.data.identity import VideoFacts
from mgm_jax.data.records import UNLABELLED, VideoRecord, VideoSource
from mgm_jax.errors import ConfigError

_SPLIT = re.compile(r"(?P<name>[^\[\]]*)(?P<slice>\[(?P<first>-?\d+%?)?:(?P<last>-?\d+%?)?\])?")


class SubsetSource:
    """Some videos of a source, in the order of their indices, with all its classes."""

    def __init__(self, source: VideoSource, indices: Int[np.ndarray, " n"]):
        self._source = source
        self._indices = indices.tolist()
        self.class_names = source.class_names

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> VideoRecord:
        return self._source[self._indices[index]]

    def describe(self, index: int) -> str:
        """Name or path of a video, for messages."""
        return self._source.describe(self._indices[index])

    def facts(self) -> list[VideoFacts]:
        """What the source knows of these videos."""
        facts = self._source.facts()
        return [facts[index] for index in self._indices]


def parse_split(text: str) -> tuple[str, tuple[str | None, str | None] | None]:
    """A split's name, and the bounds of its slice; `train[:600]` gives "train", (None, "600").

    Raises:
        ConfigError: It is neither a name nor a slice.
    """
    match = _SPLIT.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"config.data.split={text!r} is neither a split nor a slice of one, as train[:600] or "
            "train[10%:20%]"
        )
    return match["name"], (match["first"], match["last"]) if match["slice"] else None


def take_slice(
    source: VideoSource, bounds: tuple[str | None, str | None], name: str
) -> SubsetSource:
    """The videos of a slice, in the order in which the data lists them.

    Bounds are numbers of videos or percentages, which are rounded; negative ones count from the
    end, as in tensorflow-datasets. `name` is the split as the user wrote it.

    Raises:
        ConfigError: The slice holds no video, or none of a class of which the source has some; one
            bound is a percentage and the other a number, or a bound is larger than the source.

    """
    first, last = bounds
    if first and last and first.endswith("%") != last.endswith("%"):
        raise ConfigError(f"config.data.split={name}: give both bounds in %, or neither")
    start, stop = (_position(bound, len(source), name) for bound in bounds)
    indices = np.arange(len(source))[start:stop]
    if not len(indices):
        raise ConfigError(f"config.data.split={name}: none of the {len(source)} videos are in it")
    labels = [video.label for video in source.facts()]
    known = set(labels) - {UNLABELLED}
    missing = sorted(known - {labels[index] for index in indices})
    if missing:
        raise ConfigError(
            f"config.data.split={name}: no video of {len(missing)} of the {len(known)} classes is "
            f"in it, among them {source.class_names[missing[0]]}; shuffle the list of "
            "videos and prepare it again, or take more"
        )
    return SubsetSource(source, indices)


def _position(bound: str | None, count: int, name: str) -> int | None:
    if bound is None:
        return None
    number, in_percent = int(bound.removesuffix("%")), bound.endswith("%")
    position = round(number * count / 100) if in_percent else number
    if abs(number) > (100 if in_percent else count) or (position == 0 != number):
        fault = "is none" if position == 0 else "is more than there are"
        raise ConfigError(f"config.data.split={name}: {bound} of {count} videos {fault}")
    return position
