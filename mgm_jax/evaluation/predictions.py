"""What a model predicts for videos, and the numbers computed from it.

A video is *counted* in these numbers if at least one view of it was read and its class is known.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int

from mgm_jax.data.records import UNLABELLED


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Class probabilities of videos.

    Attributes:
        probabilities: Softmax averaged over the views of each video; zero without a readable view,
            NaN or infinite if that of any view is.
        labels: True classes; `UNLABELLED` where unknown.
        num_views: Views of each video that were read.
        names: Names or paths of the videos.
        class_names: Names of the classes.
        errors: Why a view could not be read, by the index of the video; only the videos that
            this process has read.
    """

    probabilities: Float32[np.ndarray, "videos classes"]
    labels: Int[np.ndarray, " videos"]
    num_views: Int[np.ndarray, " videos"]
    names: tuple[str, ...]
    class_names: tuple[str, ...]
    errors: Mapping[int, str] = dataclasses.field(default_factory=dict)

    @property
    def read(self) -> Bool[np.ndarray, " videos"]:
        """Videos with at least one readable view."""
        return self.num_views > 0

    @property
    def counted(self) -> Bool[np.ndarray, " videos"]:
        """Videos that accuracies are computed over."""
        return self.read & (self.labels != UNLABELLED)

    @property
    def finite(self) -> Bool[np.ndarray, " videos"]:
        """Videos of which all probabilities are numbers; the others are counted as wrong."""
        return np.isfinite(self.probabilities).all(axis=-1)

    @property
    def predicted_classes(self) -> Int[np.ndarray, " videos"]:
        """The most probable class of each finite video, the first of equals."""
        return self.probabilities.argmax(axis=-1)

    def ranks(self) -> Int[np.ndarray, " videos"]:
        """How many other classes are at least as probable as the true one.

        Ties count against the model, so one with constant output is never right. A video that is
        not finite comes after all classes.
        """
        true = np.take_along_axis(self.probabilities, self.labels[:, None], axis=-1)
        ranks = (self.probabilities >= true).sum(axis=-1) - 1
        return np.where(self.finite, ranks, max(self.probabilities.shape[-1], 5))

    def accuracy(self, k: int = 1) -> float:
        """Fraction of the counted videos whose class is among the first k; nan if none counts."""
        hits = self.ranks()[self.counted] < k
        return float(hits.mean(dtype=np.float32)) if hits.size else float("nan")

    def confusion(self) -> Int[np.ndarray, "classes classes"]:
        """Counted, finite videos by true class (row) and predicted class (column)."""
        classes = len(self.class_names)
        counts = np.zeros((classes, classes), np.int64)
        counted = self.counted & self.finite
        np.add.at(counts, (self.labels[counted], self.predicted_classes[counted]), 1)
        return counts

    def summary(self) -> dict[str, Any]:
        """The numbers of an evaluation, as JSON types.

        Returns:
            `top1`, `top5` (with more than 5 classes) and `mean_per_class` (over classes that have
            videos), fractions, None if no video counts; `num_videos`, `num_counted`; the names of
            the `unread`, the `unlabelled` and the `not_finite` videos; and `per_class`, a list of
            {`name`, `num_videos`, `num_right`, `accuracy`} in the order of the classes.
        """
        ranks, labels = self.ranks()[self.counted], self.labels[self.counted]
        classes = len(self.class_names)
        totals = np.bincount(labels, minlength=classes).tolist()
        right = np.bincount(labels[ranks == 0], minlength=classes).tolist()
        per_class = [
            {"name": name, "num_videos": n, "num_right": r, "accuracy": None if n == 0 else r / n}
            for name, n, r in zip(self.class_names, totals, right, strict=True)
        ]
        return {
            "top1": _mean(ranks < 1),
            **({"top5": _mean(ranks < 5)} if classes > 5 else {}),
            "mean_per_class": _mean([r / n for n, r in zip(totals, right, strict=True) if n]),
            "num_videos": len(self.names),
            "num_counted": len(ranks),
            "unread": self._names(~self.read),
            "unlabelled": self._names(self.read & ~self.counted),
            "not_finite": self._names(self.read & ~self.finite),
            "per_class": per_class,
        }

    def _names(self, chosen: Bool[np.ndarray, " videos"]) -> list[str]:
        return [self.names[index] for index in np.flatnonzero(chosen)]


def wilson_interval(right: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a fraction; `z=1.96` is that of 95 %."""
    share, spread = right / total, z * z / total
    middle = share + spread / 2
    half = z * (share * (1 - share) / total + spread / (4 * total)) ** 0.5
    return (middle - half) / (1 + spread), (middle + half) / (1 + spread)


def most_confused(
    counts: Int[np.ndarray, "classes classes"], limit: int = 15
) -> list[tuple[int, int, int, float]]:
    """The most frequent confusions of `Predictions.confusion`, most frequent first.

    Each is a true class, a predicted class, the number of videos, and their share of the class's.
    """
    totals = counts.sum(axis=1).tolist()
    wrong = np.argwhere(counts * ~np.eye(len(counts), dtype=bool)).tolist()
    found = [(t, p, int(counts[t, p]), int(counts[t, p]) / totals[t]) for t, p in wrong]
    return sorted(found, key=lambda one: (-one[2], -one[3], *one[:2]))[:limit]


def _mean(values: Any) -> float | None:
    return float(np.mean(values)) if len(values) else None
