"""Which videos a model is evaluated on."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from mgm_jax.data.centre_clips import spread
from mgm_jax.data.listing import differences
from mgm_jax.data.records import VideoRecord, VideoSource
from mgm_jax.data.sources import make_source
from mgm_jax.errors import ConfigError


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


def evenly_spaced(source: VideoSource, count: int) -> VideoSource:
    """At most `count` videos, evenly spaced over a source; all of them if `count` is 0."""
    if not count or count >= len(source):
        return source
    return SubsetSource(source, np.array(spread(count, len(source))))


def split_held_out(
    config: ConfigDict, source: VideoSource
) -> tuple[VideoSource, VideoSource | None]:
    """Holds out training videos at random, to choose among the heads of a linear probe.

    Returns:
        The videos to train on, and those held out; None if there is only one head.
    """
    if config.task != "linear_probe" or len(config.probe.learning_rate_factors) == 1:
        return source, None
    count = max(1, round(config.probe.held_out * len(source)))
    order = np.random.default_rng(config.seed).permutation(len(source))
    return SubsetSource(source, np.sort(order[count:])), SubsetSource(source, order[:count])


def make_eval_source(config: ConfigDict, class_names: tuple[str, ...]) -> VideoSource:
    """Opens the videos that `config.eval` names; by default, another split of the training data.

    Raises:
        ConfigError: There are no such videos, or their classes are not `class_names`.
    """
    names = ("source", "path", "root")
    chosen = {
        name: config.data[name] if config.eval[name] is None else config.eval[name]
        for name in names
    }
    source = make_source(chosen["source"], chosen["path"], config.eval.split, chosen["root"])
    check_class_names(f"config.eval ({chosen['path']})", source, class_names)
    return source


def check_class_names(place: str, source: VideoSource, class_names: Sequence[str]) -> None:
    """Refuses videos whose classes are not those of a model, or in another order.

    Raises:
        ConfigError: Naming the classes that differ.
    """
    changes = differences({"classes": list(class_names)}, {"classes": list(source.class_names)})
    if changes:
        raise ConfigError(
            f"{place}: the videos have {len(source.class_names)} classes and not the "
            f"{len(class_names)} of the model; {changes[0]}. List both with the same label and "
            "label_id in a csv file, or prepare them as one dataset"
        )
