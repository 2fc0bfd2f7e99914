"""Frame mAP: how well the actions of people in boxes are found, as AVA's evaluation computes it.

    python -m mgm_jax.evaluation.average_precision --truth=ava_val_v2.2.csv \
        --found=runs/ava/detections.csv --actions=ava_action_list_v2.2_for_activitynet_2019.pbtxt \
        --excluded=ava_val_excluded_timestamps_v2.2.csv

prints the average precision of each action and their mean, by the rules of ActivityNet's
`get_ava_performance`, which were read, not copied:

- Only the actions of the list count, and no excluded key frames. What is found in a key frame that
  nobody is annotated in is wrong.
- Of the scored actions of a key frame, the 50 with the highest scores count.
- In the order of the scores, each takes the annotated box of its action with the largest overlap.
  It is right if their intersection over union is at least 0.5 and nobody took the box before.
  A repeated row is thus wrong; annotations that are repeated count again.
- Average precision is the area under precision over recall, precision made non-increasing. An
  action that nobody is annotated with has none; one that is never found has 0.
"""

import csv
import dataclasses
import io
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from absl import flags
from jaxtyping import Float64, Int64

from mgm_jax.data.ava_files import (
    BoxRows,
    check_versions,
    read_actions,
    read_rows,
)
from mgm_jax.data.key_frames import NOT_EVALUATED, iou
from mgm_jax.errors import ConfigError
from mgm_jax.program import run_program

SAME = 0.5
"""Smallest overlap of a found and an annotated box that are the same."""

ROWS_PER_IMAGE = 50
"""How many scored actions of a key frame count."""

_NUM_ACTIONS = 80


@dataclasses.dataclass(frozen=True)
class Result:
    """The average precision of each class.

    `precisions` is NaN for classes that are not annotated; the others count their boxes.
    """

    class_names: tuple[str, ...]
    precisions: Float64[np.ndarray, " classes"]
    num_annotated: Int64[np.ndarray, " classes"]
    num_found: Int64[np.ndarray, " classes"]

    @property
    def mean(self) -> float:
        """The mean over the classes that are annotated; NaN for none."""
        known = self.precisions[~np.isnan(self.precisions)]
        return float(known.mean()) if len(known) else float("nan")

    def per_class(self) -> list[dict[str, Any]]:
        """The evaluated classes as JSON types; the average precision is None where it is NaN."""
        columns = (self.precisions, self.num_annotated, self.num_found)
        return [
            {"name": name, "average_precision": None if np.isnan(ap) else ap, "num_annotated": n}
            | {"num_found": found}
            for name, ap, n, found in zip(
                self.class_names, *(column.tolist() for column in columns), strict=True
            )
            if not name.endswith(NOT_EVALUATED)
        ]


def evaluate_rows(
    truth: BoxRows, found: BoxRows, class_names: Sequence[str], left_out: Collection[str] = ()
) -> Result:
    """Computes the average precision of every class whose name does not say that it is left out.

    `left_out` are excluded key frames.
    """
    evaluated = np.array([not name.endswith(NOT_EVALUATED) for name in class_names])
    counted = ~np.isin(truth.images, list(left_out))
    truth = choose(truth, evaluated[truth.actions] & counted[truth.image])
    found = leading(choose(found, evaluated[found.actions]))
    unknown = dict.fromkeys(found.images, len(truth.images))  # Nobody is annotated there.
    places = unknown | dict.fromkeys(left_out, -1)
    places |= {name: n for n, name in enumerate(truth.images) if counted[n]}
    place = np.array([places[name] for name in found.images], np.int64)
    solid = (found.boxes[:, 2:] > found.boxes[:, :2]).all(axis=1)
    found = choose(found, (place[found.image] >= 0) & solid)
    precisions = np.full(len(class_names), np.nan)
    for number in range(len(class_names)):
        here, there = (choose(rows, rows.actions == number) for rows in (truth, found))
        if len(here.image):
            taken = _nearest(there.boxes, place[there.image], here.boxes, here.image)
            precisions[number] = average_precision(taken, there.scores, len(here.image))
    counts = (np.bincount(rows.actions, minlength=len(class_names)) for rows in (truth, found))
    return Result(tuple(class_names), precisions, *counts)


def choose(rows: BoxRows, chosen: np.ndarray) -> BoxRows:
    """Some of the rows, by a mask or by indices, with all key frames."""
    names = ("image", "boxes", "actions", "scores", "people")
    return dataclasses.replace(rows, **{name: getattr(rows, name)[chosen] for name in names})


def leading(rows: BoxRows, limit: int = ROWS_PER_IMAGE) -> BoxRows:
    """The rows of each key frame with the highest scores, the first of equals, in that order."""
    order = np.lexsort((-rows.scores, rows.image))
    image = rows.image[order]
    rank = np.arange(len(order)) - np.searchsorted(image, image)
    return choose(rows, order[rank < limit])


def average_precision(
    taken: Int64[np.ndarray, " n"], scores: Float64[np.ndarray, " n"], num_annotated: int
) -> float:
    """The area under precision over recall.

    Args:
        taken: The annotated box that each found one lies on; -1 for none.
        scores: Of the found boxes. Of equal ones the first takes the box, but counts last, as in
            the official code.
        num_annotated: How many boxes there are to find.
    """
    order = np.argsort(-scores, kind="stable")
    boxes, first = np.unique(taken[order], return_index=True)
    right = np.zeros(len(taken), bool)
    right[order[first[boxes >= 0]]] = True
    right = right[np.argsort(scores, kind="stable")[::-1]]
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(hits) + 1)
    # What precision is still reached at this recall or a higher one.
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best[right].sum() / num_annotated)


def _nearest(
    found: Float64[np.ndarray, "n 4"],
    found_image: Int64[np.ndarray, " n"],
    boxes: Float64[np.ndarray, "m 4"],
    image: Int64[np.ndarray, " m"],
) -> Int64[np.ndarray, " n"]:
    """For each found box the annotated one with the largest overlap, -1 below `SAME`."""
    order = np.argsort(image, kind="stable")
    first = np.searchsorted(image[order], found_image, "left")
    count = np.searchsorted(image[order], found_image, "right") - first
    pair_found = np.repeat(np.arange(len(found)), count)
    within = np.arange(len(pair_found)) - np.repeat(np.cumsum(count) - count, count)
    pair_box = order[first[pair_found] + within]
    overlap = iou(found[pair_found], boxes[pair_box])
    ranked = np.lexsort((-overlap, pair_found))
    best = ranked[np.unique(pair_found[ranked], return_index=True)[1]]
    best = best[overlap[best] >= SAME]
    nearest = np.full(len(found), -1)
    nearest[pair_found[best]] = pair_box[best]
    return nearest


def run(truth: str, found: str, actions: str, excluded: str | None = None) -> Result:
    """Evaluates a file of scored actions against a file of annotations.

    Raises:
        ConfigError: A file that cannot be read or is of another version of AVA, or scored actions
            of other key frames.
    """
    # The lists of actions of 2.1 and 2.2 are the same.
    check_versions([file for file in (truth, excluded) if file], "--truth, --excluded")
    named = read_actions(actions, "--actions", _NUM_ACTIONS)
    names = [named.get(n, f"action {n}{NOT_EVALUATED}") for n in range(1, _NUM_ACTIONS + 1)]
    annotated = read_rows(truth, "--truth", "annotations", _NUM_ACTIONS)
    scored = read_rows(found, "--found", "detections", _NUM_ACTIONS)
    if (scored.actions < 0).any():
        raise ConfigError(
            f"--found: {found} has boxes without an action; give the actions that a model has "
            "predicted for them, such as the detections.csv of an evaluated run"
        )
    left_out = read_rows(excluded, "--excluded", "annotations").images if excluded else ()
    counted = set(annotated.images) - set(left_out)
    missing = counted - set(scored.images)
    if missing == counted:
        raise ConfigError(
            f"--found: {found} has none of the {len(missing)} key frames of {truth}, such as "
            f"{annotated.images[0]}, but others, such as {scored.images[0]}; give files of one set"
        )
    print(f"{len(missing)} of {len(counted)} annotated key frames have no scored action")
    others = set(scored.images) - counted - set(left_out)
    if others:
        print(f"{len(others)} key frames without annotations have some, which count as wrong")
    return evaluate_rows(annotated, scored, names, left_out)


def to_csv(result: Result) -> str:
    """A line for each evaluated class."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(result.per_class()[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(result.per_class())
    return text.getvalue()


def _define_flags() -> None:
    flags.DEFINE_string("truth", None, "Annotations, as ava_val_v2.2.csv.", required=True)
    flags.DEFINE_string("found", None, "Scored actions, as a run's detections.csv.", required=True)
    flags.DEFINE_string("actions", None, "The actions that count, a pbtxt file.", required=True)
    flags.DEFINE_string("excluded", None, "Key frames that do not count, a csv file.")


def main(_: Sequence[str]) -> None:
    """Evaluates the files that the flags name."""
    values = flags.FLAGS
    result = run(values.truth, values.found, values.actions, values.excluded)
    print(to_csv(result), end="")
    print(f"frame mAP {100 * result.mean:.2f} %")


if __name__ == "__main__":
    # Not at import: other commands define flags of the same names.
    _define_flags()
    run_program(main)
