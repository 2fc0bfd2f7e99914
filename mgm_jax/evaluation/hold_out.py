"""Which videos of a data set are kept out of training, to evaluate on."""

import collections
import hashlib

import numpy as np
from absl import logging

from mgm_jax.data.records import UNLABELLED, VideoSource
from mgm_jax.data.subsets import SubsetSource
from mgm_jax.errors import ConfigError


def hold_out(
    source: VideoSource, share: float, seed: int, flag: str = "config.eval.holdout"
) -> tuple[VideoSource, VideoSource]:
    """Divides videos into those to train on and about `share` of each class to evaluate on.

    Videos of one group, such as clips of one recording, stay together. The draw depends on the
    names of the groups and on the seed, so every host makes the same. Messages name the flag.

    Raises:
        ConfigError: No class can be divided.
    """
    facts = source.facts()
    labels = [video.label for video in facts]
    groups: dict[str, list[int]] = {}
    for index, video in enumerate(facts):
        groups.setdefault(video.group, []).append(index)
    order = sorted(groups, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    sizes = {name: collections.Counter(labels[i] for i in groups[name]) for name in order}
    kept = collections.Counter(labels)
    missing = {label: max(1, round(share * count)) for label, count in kept.items()}
    held: set[str] = set()

    def hold(name: str) -> bool:
        """Holds a group out, unless it is the last of one of its classes."""
        if name in held or any(kept[label] <= count for label, count in sizes[name].items()):
            return False
        held.add(name)
        for label, count in sizes[name].items():
            kept[label] -= count
            missing[label] -= count
        return True

    for name in order:
        wanted = sum(min(n, max(missing[label], 0)) for label, n in sizes[name].items())
        if 2 * wanted > sizes[name].total():
            hold(name)
    # A class whose groups are all larger than its share gives the smallest.
    by_size = sorted(order, key=lambda name: sizes[name].total())
    for label in sorted(label for label in kept if not any(label in sizes[name] for name in held)):
        if not any(hold(name) for name in by_size if label in sizes[name]):
            name = source.class_names[label] if label != UNLABELLED else "none"
            logging.warning(
                "%s: all videos of class %s are trained on, since they are one, or one group",
                flag,
                name,
            )
    if not held:
        raise ConfigError(
            f"{flag}: no class has two videos, or two groups of them, to divide; add videos, or do "
            "without: name others with --config.eval.path, or probe with one learning rate"
        )
    inside = np.array([video.group in held for video in facts])
    parts = (np.flatnonzero(~inside), np.flatnonzero(inside))
    return SubsetSource(source, parts[0]), SubsetSource(source, parts[1])
