"""Evaluation of detected actions: the scores of every box of every key frame, and frame mAP."""

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import Bool, Float32, UInt8
from ml_collections import ConfigDict
from PIL import Image

from mgm_jax.data.ava_files import BoxRows, write_rows
from mgm_jax.data.centre_clips import spread
from mgm_jax.data.clip_reader import ReadSpec
from mgm_jax.data.key_clips import LoadKeyFrameViews
from mgm_jax.data.key_frames import NOT_EVALUATED
from mgm_jax.data.records import VideoSource
from mgm_jax.errors import ConfigError
from mgm_jax.evaluation import average_precision
from mgm_jax.evaluation.average_precision import ROWS_PER_IMAGE, Result, evaluate_rows
from mgm_jax.evaluation.evaluator import Evaluator
from mgm_jax.evaluation.results import NUMBERS_FILE
from mgm_jax.io import AnyPath, replacing, writing
from mgm_jax.pictures import action_boxes
from mgm_jax.pictures.action_boxes import Example

ROWS_FILE, TABLE_FILE, PICTURE_FILE = "detections.csv", "average_precision.csv", "boxes.png"

_CHANCE_DRAWS, _EXAMPLES = 5, 6


@dataclasses.dataclass(frozen=True)
class Detections:
    """The scored actions of the boxes of key frames, and their annotation.

    Attributes:
        names: Of all key frames, with and without boxes.
        boxes: Of each key frame, as fractions of its size; none of one that could not be read.
        scores: Of each box and class: the model's times the detector's.
        truth: The annotated boxes of each key frame.
        truth_actions: 1 for each of their actions.
        read: Whether a key frame could be read.
        errors: Why one could not be read, by its index; only those of this process.
    """

    names: tuple[str, ...]
    class_names: tuple[str, ...]
    boxes: Sequence[Float32[np.ndarray, "_ 4"]]
    scores: Sequence[Float32[np.ndarray, "_ classes"]]
    truth: Sequence[Float32[np.ndarray, "_ 4"]]
    truth_actions: Sequence[UInt8[np.ndarray, "_ classes"]]
    read: Bool[np.ndarray, " key_frames"]
    errors: Mapping[int, str]

    @property
    def unread(self) -> list[str]:
        """Names of the key frames that could not be read."""
        return [self.names[index] for index in np.flatnonzero(~self.read)]

    @functools.cached_property
    def rows(self) -> BoxRows:
        """The scored actions that AVA's evaluation counts: the first 50 of a key frame."""
        return self._to_rows(self.boxes, self.scores, ROWS_PER_IMAGE)

    @property
    def all_rows(self) -> BoxRows:
        """The scored actions of every box, evaluated or not."""
        return self._to_rows(self.boxes, self.scores, None, np.ones(len(self.class_names), bool))

    @functools.cached_property
    def truth_rows(self) -> BoxRows:
        """The annotated actions."""
        parts = []
        for boxes, actions in zip(self.truth, self.truth_actions, strict=True):
            box, action = np.nonzero(actions)
            parts.append((boxes[box], action, np.ones(len(box))))
        return _join(self.names, parts)

    @functools.cached_property
    def result(self) -> Result:
        """The average precision of each class."""
        return evaluate_rows(self.truth_rows, self.rows, self.class_names)

    @property
    def not_finite(self) -> list[str]:
        """Names of the key frames with scores that are not numbers, which are never right."""
        pairs = zip(self.names, self.scores, strict=True)
        return [name for name, scores in pairs if not np.isfinite(scores).all()]

    @functools.cached_property
    def chance(self) -> float:
        """The mean average precision of the same boxes with random scores; nan if none counts."""
        if np.isnan(self.result.mean):
            return np.nan
        means = []
        for draw in range(_CHANCE_DRAWS):
            rng = np.random.default_rng(draw)
            scores = [rng.random(one.shape, np.float32) for one in self.scores]
            rows = self._to_rows(self.boxes, scores, ROWS_PER_IMAGE)
            means.append(evaluate_rows(self.truth_rows, rows, self.class_names).mean)
        return float(np.mean(means))

    def _to_rows(
        self,
        boxes: Sequence[Float32[np.ndarray, "_ 4"]],
        scores: Sequence[Float32[np.ndarray, "_ classes"]],
        limit: int | None,
        chosen: Bool[np.ndarray, " classes"] | None = None,
    ) -> BoxRows:
        """A row for each box and chosen class, by default those that are evaluated."""
        if chosen is None:
            chosen = np.array([not name.endswith(NOT_EVALUATED) for name in self.class_names])
        parts = []
        for some, values in zip(boxes, scores, strict=True):
            values = np.where(chosen, values, -1.0)
            order = np.argsort(-values, axis=None, kind="stable")[:limit]
            order = order[values.flat[order] >= 0]
            box, action = np.unravel_index(order, values.shape)
            parts.append((some[box], action, values[box, action]))
        return _join(self.names, parts)

    def picture(
        self, source: VideoSource, subtitle: str
    ) -> UInt8[np.ndarray, "height width 3"] | None:
        """Draws some of the key frames with boxes, evenly spaced; None if none can be read."""
        filled = [index for index, boxes in enumerate(self.boxes) if len(boxes)]
        parts = ("truth", "truth_actions", "boxes", "scores")
        examples = [
            Example(
                index, self.names[index], **{name: getattr(self, name)[index] for name in parts}
            )
            for index in (filled[place] for place in spread(_EXAMPLES, len(filled)))
        ]
        return action_boxes.sheet(source, examples, subtitle)

    def summary(self) -> dict[str, Any]:
        """The numbers of an evaluation, as JSON types."""
        mean = self.result.mean
        return {
            "frame_map": None if np.isnan(mean) else mean,
            "chance_frame_map": None if np.isnan(mean) else self.chance,
            "num_key_frames": len(self.names),
            "num_boxes": sum(map(len, self.boxes)),
            "num_annotated_boxes": sum(map(len, self.truth)),
            "unread": self.unread,
            "not_finite": self.not_finite,
            "per_class": self.result.per_class(),
        }


def detect(
    evaluator: Evaluator, config: ConfigDict, variables: Mapping[str, Any], source: VideoSource
) -> Detections:
    """Scores the actions of the boxes of all key frames; every host gets the same result.

    A key frame is seen in `config.eval.spatial_views` squares along its long side. A box has the
    scores of the view that shows most of it, or their mean if several do.

    Raises:
        ConfigError: A key frame has more boxes than `config.data.max_boxes`.
        TooManySkippedError: More key frames than `config.data.max_bad_fraction` cannot be read.
    """
    data, views = config.data, config.eval.spatial_views
    loader = LoadKeyFrameViews(
        source,
        ReadSpec.from_config(data),
        copies=views,
        max_boxes=data.max_boxes,
        margin=tuple(config.eval.box_margin),
    )
    names = tuple(facts.name for facts in source.facts())
    classes = len(source.class_names)
    none, scores = np.zeros((0, 4), np.float32), np.zeros((0, classes), np.float32)
    found: list[Any] = [(none, scores, none, scores.astype(np.uint8))] * len(source)
    read = np.zeros(len(source), bool)
    batches = evaluator.batches(loader)
    for outputs in evaluator.outputs(variables, batches):
        outputs = {
            name: array.reshape(-1, views, *array.shape[1:]) for name, array in outputs.items()
        }
        for row in np.flatnonzero(outputs["valid"].all(axis=1)):
            one = {name: array[row] for name, array in outputs.items()}
            index, count, truths = (
                int(one[name][0]) for name in ("index", "num_boxes", "num_truth")
            )
            index //= views
            read[index] = True
            most = max(count, truths)
            if most > data.max_boxes:
                raise ConfigError(
                    f"{names[index]} has {most} boxes, more than "
                    f"config.data.max_boxes={data.max_boxes}; raise it"
                )
            seen = one["box_seen"] * one["box_valid"]
            best = (seen >= seen.max(axis=0) - 1e-6) & (seen > 0)
            total = (one["probabilities"] * best[..., None]).sum(axis=0)
            scores = total / np.maximum(best.sum(axis=0), 1)[:, None] * one["scores"][0][:, None]
            found[index] = (
                one["key_boxes"][0, :count],
                scores[:count].astype(np.float32),
                one["truth_boxes"][0, :truths],
                one["truth_actions"][0, :truths].astype(np.uint8),
            )
    evaluator.check_read(np.where(read, 0, 1), 1, names)
    parts = ("boxes", "scores", "truth", "truth_actions")
    columns = {name: [one[i] for one in found] for i, name in enumerate(parts)}
    result = Detections(
        names, tuple(source.class_names), **columns, read=read, errors=batches.errors
    )
    if result.not_finite:
        logging.warning(
            "%d key frames count as without actions: their scores are not finite, as those of %s. "
            "Check the checkpoint's parameters, or set config.model.dtype=float32",
            *(len(result.not_finite), result.not_finite[0]),
        )
    return result


def _join(
    names: tuple[str, ...], parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> BoxRows:
    """Boxes, actions and scores of each key frame as one table."""
    boxes, actions, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
    image = np.repeat(np.arange(len(parts)), [len(action) for _, action, _ in parts])
    nobody = np.full(len(image), -1)
    return BoxRows(names, image, boxes.astype(float), actions, scores.astype(float), nobody)


def describe(found: Detections) -> str:
    """One line about an evaluation."""
    unread = f", {len(found.unread)} of them unread" if found.unread else ""
    return (
        f"frame mAP {100 * found.result.mean:.2f} % of {sum(map(len, found.boxes))} boxes in "
        f"{len(found.names)} key frames{unread}"
    )


def write_detections(
    found: Detections,
    source: VideoSource,
    folder: AnyPath,
    *,
    step: int,
    settings: Mapping[str, Any],
) -> list[AnyPath]:
    """Writes an evaluation of the key frames of `source`; each file completely or not at all.

    `settings` describe the evaluation, such as its boxes, as JSON types.
    """
    # Of an earlier evaluation, whose other files are replaced.
    with writing(folder):
        for name in (NUMBERS_FILE, PICTURE_FILE):
            (folder / name).unlink(missing_ok=True)
    numbers = {"step": step, **settings, **found.summary()}
    texts = {
        ROWS_FILE: write_rows(found.rows),
        TABLE_FILE: average_precision.to_csv(found.result),
        NUMBERS_FILE: json.dumps(numbers, indent=1, ensure_ascii=False),  # Last: the rest is there.
    }
    picture = found.picture(source, f"step {step:,}")
    if picture is not None:
        with replacing(folder / PICTURE_FILE) as file:
            Image.fromarray(picture).save(file, "PNG")
    for name, text in texts.items():
        with replacing(folder / name) as file:
            file.write(text.encode())
    return [folder / name for name in texts]
