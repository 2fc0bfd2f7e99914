"""The files of an evaluation, written when it ends."""

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from mgm_jax.evaluation.predictions import Predictions
from mgm_jax.io import AnyPath, replacing, write_arrays, writing

NUMBERS_FILE = "evaluation.json"
TABLE_FILE = "predictions.csv"
ARRAYS_FILE = "predictions.npz"

_TABLE_COLUMNS = (
    *("video", "outcome", "true_class", "predicted_class"),
    *("true_probability", "predicted_probability", "true_rank", "views"),
)


def write_results(
    predictions: Predictions, folder: AnyPath, *, step: int, settings: Mapping[str, Any]
) -> list[AnyPath]:
    """Writes an evaluation; each file is written completely or not at all.

    `settings` describe the evaluation, such as its views, as JSON types. The files, in this order:
    `evaluation.json` (step, settings, summary), `predictions.csv` (one line per video) and
    `predictions.npz` (all probabilities).
    """
    files = [folder / name for name in (NUMBERS_FILE, TABLE_FILE, ARRAYS_FILE)]
    with writing(folder):  # Of an earlier evaluation, whose other files are replaced.
        files[0].unlink(missing_ok=True)
    _write_text(files[1], _table(predictions))
    write_arrays(
        files[2],
        {
            # The first axis is from when these files could hold several heads.
            "probabilities": predictions.probabilities[None],
            "labels": predictions.labels,
            "num_views": predictions.num_views,
            "names": np.array(predictions.names, str),
            "class_names": np.array(predictions.class_names, str),
        },
    )
    # Written last: if the numbers are there, so is the rest.
    numbers = {"step": step, **settings, **predictions.summary()}
    _write_text(files[0], json.dumps(numbers, indent=1, ensure_ascii=False) + "\n")
    return files


def _table(predictions: Predictions) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_TABLE_COLUMNS)
    classes = predictions.class_names
    rows = zip(
        predictions.names,
        predictions.probabilities,
        predictions.labels,
        predictions.predicted_classes,
        predictions.ranks(),
        predictions.num_views,
        predictions.counted,
        predictions.read & predictions.finite,
        strict=True,
    )
    for name, probabilities, label, best, rank, views, counted, finite in rows:
        if not views:
            outcome = "unread"
        elif not finite:
            outcome = "not finite"
        elif not counted:
            outcome = "unlabelled"
        else:
            outcome = "right" if rank == 0 else "wrong"
        true, true_share = (classes[label], f"{probabilities[label]:.6f}") if counted else ("", "")
        first, first_share = (classes[best], f"{probabilities[best]:.6f}") if finite else ("", "")
        true_rank = rank + 1 if counted else ""
        writer.writerow([name, outcome, true, first, true_share, first_share, true_rank, views])
    return text.getvalue()


def _write_text(path: AnyPath, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode())
