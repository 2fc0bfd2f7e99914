"""What a run reports about its model every few steps: pictures and loss, or accuracy."""

import json
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np
from absl import logging
from jax.sharding import Mesh
from jaxtyping import UInt8
from ml_collections import ConfigDict

from mgm_jax.data.manifest import digest
from mgm_jax.errors import VideoError
from mgm_jax.evaluation.detections import Detections, describe, detect
from mgm_jax.evaluation.evaluator import Evaluator
from mgm_jax.evaluation.predictions import Predictions
from mgm_jax.evaluation.validation_loss import ValidationLoss
from mgm_jax.evaluation.videos import Videos, evenly_spaced
from mgm_jax.pictures.gallery import Gallery
from mgm_jax.training.classify_step import PredictFn

_ONE_VIEW = {"temporal_views": 1, "spatial_views": 1}

Report = dict[str, float | UInt8[np.ndarray, "h w 3"]]
"""Numbers and pictures by name."""


class PictureReporter:
    """Reconstructions of a few training clips, and the loss on clips that are not trained on.

    Attributes:
        every: Steps between reports; 0 for none.
        score: None, since neither says which checkpoint finetunes best.
        scored_on: None likewise.
    """

    score: float | None = None
    scored_on: str | None = None

    def __init__(self, config: ConfigDict, model: nn.Module, videos: Videos):
        """Reads the clips.

        Raises:
            VideoError: None of `videos.evaluated` can be read.
        """
        self.every = config.pictures_every
        self._loss: ValidationLoss | None = None
        if self.every:
            if videos.evaluated is not None:
                self._loss = ValidationLoss(config, model, videos.evaluated)
            try:
                self._gallery = Gallery(config, model, videos.train)
            except VideoError as error:
                self.every = 0
                logging.warning("training without pictures or a validation loss: %s", error)

    def report(self, variables: Mapping[str, Any], step: int) -> Report:
        """Draws sheets of the clips, and measures the loss."""
        pictures = self._gallery.pictures(variables["params"], step)
        report: Report = {f"reconstruction/{i}": picture for i, picture in enumerate(pictures)}
        if self._loss is not None:
            found = self._loss.measure(variables["params"])
            numbers = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
            logging.info("step %d: on videos that are not trained on: %s", step, numbers)
            report |= {f"eval/{name}": value for name, value in found.items()}
        return report


class AccuracyReporter:
    """Accuracy on videos that are not trained on.

    Of a linear probe's heads, it reports the one that is best on held-out training videos.

    Attributes:
        every: Steps between reports; 0 for none.
        score: Top-1 accuracy of the last report, on the held-out videos if there are any; None if
            no video counts.
        scored_on: Stands for the videos of the score.
        source: The videos.
    """

    score: float | None = None

    def __init__(self, config: ConfigDict, mesh: Mesh, predict_fn: PredictFn, videos: Videos):
        """Reads nothing yet; `videos` must have some to evaluate on."""
        assert videos.evaluated is not None
        self.every = config.eval.every
        self.config = config
        self.source = videos.evaluated
        self._subset = evenly_spaced(self.source, config.eval.subset)
        self._held_out = videos.held_out
        self.scored_on = digest(self._subset if self._held_out is None else self._held_out)
        self._views = {
            "temporal_views": config.eval.temporal_views,
            "spatial_views": config.eval.spatial_views,
        }
        self._settings = _settings(config, videos, self._views)
        self._evaluator = Evaluator(config, mesh, predict_fn)

    def report(self, variables: Mapping[str, Any], step: int) -> Report:
        """The accuracies of one view of `config.eval.subset` videos."""
        head, held_out_top1 = self._choose_head(variables)
        predictions = self._evaluator.run(variables, self._subset, **_ONE_VIEW)[head]
        top1 = predictions.accuracy(1)
        score = top1 if held_out_top1 is None else held_out_top1
        self.score = score if np.isfinite(score) else None  # nan: no video counts.
        logging.info(
            "step %d: top-1 %.1f %% of %d videos, one view",
            step,
            100 * top1,
            np.count_nonzero(predictions.counted),
        )
        report: Report = {"eval/top1": top1}
        if len(predictions.class_names) > 5:
            report["eval/top5"] = predictions.accuracy(5)
        if held_out_top1 is not None:
            report |= {"eval/head": float(head), "eval/held_out_top1": held_out_top1}
        return report

    def evaluate_all(self, variables: Mapping[str, Any]) -> tuple[Predictions, dict[str, Any]]:
        """Evaluates all views of all videos; also returns the settings of this evaluation."""
        head, held_out_top1 = self._choose_head(variables)
        settings = dict(self._settings)
        if held_out_top1 is not None:
            settings |= {"head": head, "held_out_top1": held_out_top1}
        return self._evaluator.run(variables, self.source, **self._views)[head], settings

    def _choose_head(self, variables: Mapping[str, Any]) -> tuple[int, float | None]:
        if self._held_out is None:
            return 0, None
        heads = self._evaluator.run(variables, self._held_out, **_ONE_VIEW)
        accuracies = [predictions.accuracy(1) for predictions in heads]
        head = int(np.argmax(np.nan_to_num(accuracies)))
        return head, accuracies[head]


class DetectionReporter:
    """Frame mAP on key frames that are not trained on, and a picture of some.

    Attributes:
        every: Steps between reports; 0 for none.
        score: Frame mAP of the last report; None if no class is annotated.
        scored_on: Stands for the key frames and boxes of the score.
        source: The key frames.
    """

    score: float | None = None

    def __init__(self, config: ConfigDict, mesh: Mesh, predict_fn: PredictFn, videos: Videos):
        """Reads nothing yet; `videos` must have some to evaluate on."""
        assert videos.evaluated is not None
        self.every = config.eval.every
        self.config, self.source = config, videos.evaluated
        self._subset = evenly_spaced(videos.evaluated, config.eval.subset)
        self._evaluator = Evaluator(config, mesh, predict_fn)
        names = ("detection_score", "box_margin", "spatial_views")
        views = {name: config.eval[name] for name in names}
        views["boxes"] = config.eval.detections or "annotated"
        self.scored_on = digest(self._subset) + json.dumps(views)
        self._settings = _settings(config, videos, views)

    def report(self, variables: Mapping[str, Any], step: int) -> dict[str, Any]:
        """Evaluates `config.eval.subset` key frames."""
        found = detect(self._evaluator, self.config, variables, self._subset)
        mean = found.result.mean
        self.score = mean if np.isfinite(mean) else None
        logging.info("step %d: %s", step, describe(found))
        picture = found.picture(self._subset, f"step {step:,}")
        report: dict[str, Any] = {} if self.score is None else {"eval/frame_map": mean}
        return report if picture is None else report | {"boxes/0": picture}

    def evaluate_all(self, variables: Mapping[str, Any]) -> tuple[Detections, dict[str, Any]]:
        """Evaluates all key frames; also returns the settings of this evaluation."""
        found = detect(self._evaluator, self.config, variables, self.source)
        return found, dict(self._settings)


def _settings(config: ConfigDict, videos: Videos, views: Mapping[str, Any]) -> dict[str, Any]:
    """What an evaluation of some views is of, as JSON types."""
    settings = {**views, "videos": videos.place}
    if config.eval.allow_overlap:
        settings["allow_overlap"] = True
    return settings
