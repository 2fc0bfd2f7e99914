"""What an evaluation found: its numbers, and the files that keep them.

All functions take the predictions of one head. A video counts if at least one view of it could be
read and its class is known.
"""

import csv
import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from mgm_jax.data.records import UNLABELLED
from mgm_jax.errors import CheckpointError
from mgm_jax.evaluation.evaluator import Predictions
from mgm_jax.io import AnyPath, read_arrays, replacing, write_arrays
from mgm_jax.pictures import picture_files
from mgm_jax.pictures.confusion import confusion_picture

NUMBERS_FILE = "evaluation.json"
TABLE_FILE = "predictions.csv"
ARRAYS_FILE = "predictions.npz"
PICTURE_FILE = "confusion.png"

_TABLE_COLUMNS = (
    "video",
    "outcome",
    "true_class",
    "predicted_class",
    "true_probability",
    "predicted_probability",
    "true_rank",
    "views",
)


@dataclasses.dataclass(frozen=True)
class Confusion:
    """Videos of one class that are taken for another.

    Attributes:
        true: Number of their class.
        predicted: Number of the class they are taken for.
        count: How many.
        share: Of the videos of their class.
    """

    true: int
    predicted: int
    count: int
    share: float


def predicted_classes(predictions: Predictions) -> Int[np.ndarray, " videos"]:
    """The likeliest class of each video, the first of equal ones."""
    return _one_head(predictions).probabilities[0].argmax(axis=-1)


def summary(predictions: Predictions) -> dict[str, Any]:
    """The numbers of an evaluation, as JSON types.

    Args:
        predictions: Of one head.

    Returns:
        `top1`, `top5` (of more than 5 classes) and `mean_per_class` (over the classes that have
        videos), each a share, or None without videos; `videos` and how many of them were `counted`;
        `unread` and `unlabelled`, names of those that were not; `per_class`, a list of
        {`name`, `videos`, `right`, `accuracy`} in the order of the classes.
    """
    predictions = _one_head(predictions)
    known = predictions.counted
    ranks, labels = predictions.ranks()[0][known], predictions.labels[known]
    classes = len(predictions.class_names)
    videos = np.bincount(labels, minlength=classes)
    right = np.bincount(labels[ranks == 0], minlength=classes)
    accuracy = np.divide(right, videos, out=np.full(classes, np.nan), where=videos > 0)
    per_class = [
        {"name": name, "num_videos": n, "num_right": r, "accuracy": None if n == 0 else r / n}
        for name, n, r in zip(predictions.class_names, videos.tolist(), right.tolist(), strict=True)
    ]
    return {
        "top1": _mean(ranks < 1),
        **({"top5": _mean(ranks < 5)} if classes > 5 else {}),
        "mean_per_class": _mean(accuracy[videos > 0]),
        "num_videos": len(known),
        "num_counted": int(known.sum()),
        "unread": _names(predictions, ~predictions.read),
        "unlabelled": _names(predictions, predictions.read & (predictions.labels == UNLABELLED)),
        "per_class": per_class,
    }


def confusion(predictions: Predictions) -> Int[np.ndarray, "classes classes"]:
    """Counts the videos of each class by the class they are taken for.

    Args:
        predictions: Of one head.

    Returns:
        Rows are the true classes, columns the predicted ones.
    """
    known = predictions.counted
    classes = len(predictions.class_names)
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (predictions.labels[known], predicted_classes(predictions)[known]), 1)
    return counts


def most_confused(counts: Int[np.ndarray, "classes classes"], limit: int = 15) -> list[Confusion]:
    """The commonest confusions.

    Args:
        counts: As `confusion` gives them.
        limit: How many to list at most.

    Returns:
        By falling count, then by falling share of the true class.
    """
    totals = counts.sum(axis=1)
    true, predicted = np.nonzero(counts * ~np.eye(len(counts), dtype=bool))
    found = [
        Confusion(row, column, int(counts[row, column]), float(counts[row, column] / totals[row]))
        for row, column in zip(true.tolist(), predicted.tolist(), strict=True)
    ]
    return sorted(found, key=lambda one: (-one.count, -one.share, one.true, one.predicted))[:limit]


def write_results(
    predictions: Predictions,
    folder: AnyPath,
    *,
    step: int,
    settings: Mapping[str, Any],
) -> list[AnyPath]:
    """Writes what an evaluation found; each file is whole or not there.

    Args:
        predictions: Of one head.
        folder: Where the files go.
        step: Step of the model.
        settings: What describes the evaluation, such as its views; names that `summary` has not,
            values of JSON types.

    Returns:
        `evaluation.json` (step, settings and `summary`), `predictions.csv` (a line per video),
        `predictions.npz` (the predictions, for `read_results`), `confusion.png`.
    """
    predictions = _one_head(predictions)
    numbers = {"step": step, **settings, **summary(predictions)}
    files = [folder / name for name in (NUMBERS_FILE, TABLE_FILE, ARRAYS_FILE, PICTURE_FILE)]
    _write_text(files[1], _table(predictions))
    write_arrays(
        files[2],
        {
            "probabilities": predictions.probabilities,
            "labels": predictions.labels,
            "num_views": predictions.num_views,
            "names": np.array(predictions.names, str),
            "class_names": np.array(predictions.class_names, str),
        },
    )
    picture_files.save_png(
        files[3], confusion_picture(confusion(predictions), predictions.class_names)
    )
    # Last, so that where the numbers are, the rest is.
    _write_text(files[0], json.dumps(numbers, indent=1, ensure_ascii=False) + "\n")
    return files


def read_results(folder: AnyPath) -> tuple[Predictions, int, dict[str, Any]]:
    """Reads what `write_results` wrote.

    Args:
        folder: Where it was written.

    Returns:
        The predictions, the step and the settings.

    Raises:
        CheckpointError: There is no evaluation, or its files are damaged.
    """
    try:
        numbers = json.loads((folder / NUMBERS_FILE).read_bytes())
        step = numbers.pop("step")
        arrays = read_arrays(folder / ARRAYS_FILE)
        names = {name: tuple(arrays.pop(name).tolist()) for name in ("names", "class_names")}
        predictions = Predictions(**arrays, **names)
    except FileNotFoundError:
        raise CheckpointError(
            f"no evaluation in {folder}: it has no {NUMBERS_FILE}; train the run to its end, or "
            "evaluate it with --config.mode=eval"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"the evaluation in {folder} is damaged ({error}); make it again with "
            "--config.mode=eval"
        ) from error
    known = summary(predictions)
    return predictions, step, {name: numbers[name] for name in numbers if name not in known}


def _one_head(predictions: Predictions) -> Predictions:
    heads = len(predictions.probabilities)
    if heads != 1:
        raise ValueError(f"predictions of {heads} heads; choose one with predictions.head(number)")
    return predictions


def _table(predictions: Predictions) -> str:
    classes = predictions.class_names
    ranks, best = predictions.ranks()[0], predicted_classes(predictions)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_TABLE_COLUMNS)
    for video, (name, label, views) in enumerate(
        zip(
            predictions.names,
            predictions.labels.tolist(),
            predictions.num_views.tolist(),
            strict=True,
        )
    ):
        read = views > 0
        labelled = read and label != UNLABELLED
        probabilities = predictions.probabilities[0, video]
        if not read:
            outcome = "unread"
        elif not labelled:
            outcome = "unlabelled"
        else:
            outcome = "right" if ranks[video] == 0 else "wrong"
        writer.writerow(
            [
                name,
                outcome,
                classes[label] if labelled else "",
                classes[best[video]] if read else "",
                f"{probabilities[label]:.6f}" if labelled else "",
                f"{probabilities[best[video]]:.6f}" if read else "",
                ranks[video] + 1 if labelled else "",
                views,
            ]
        )
    return text.getvalue()


def _write_text(path: AnyPath, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode())


def _names(predictions: Predictions, chosen: Bool[np.ndarray, " videos"]) -> list[str]:
    return [name for name, one in zip(predictions.names, chosen, strict=True) if one]


def _mean(values: Sequence[float] | np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None
