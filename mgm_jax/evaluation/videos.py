"""Which videos a model is evaluated on."""

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from mgm_jax.data.centre_clips import spread
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
    if tuple(source.class_names) != tuple(class_names):
        unknown = sorted(set(source.class_names) - set(class_names))
        missing = sorted(set(class_names) - set(source.class_names))
        raise ConfigError(
            f"config.eval: the videos to evaluate on ({chosen['path']}) have other classes than "
            f"the model: {len(source.class_names)} against {len(class_names)}; unknown to the "
            f"model: {', '.join(unknown[:5]) or 'none'}; without videos: "
            f"{', '.join(missing[:5]) or 'none'}; or their order differs. List both with the "
            "same label and label_id in a csv file, or prepare them as one dataset"
        )
    return source
