"""What a run reports now and then about its model: pictures, accuracy."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import logging
from jax.sharding import Mesh
from jaxtyping import UInt8
from ml_collections import ConfigDict

from mgm_jax.data.records import VideoSource
from mgm_jax.errors import VideoError
from mgm_jax.evaluation.evaluator import (
    Evaluator,
    Predictions,
    SubsetSource,
    evenly_spaced,
    make_eval_source,
)
from mgm_jax.pictures.gallery import Gallery
from mgm_jax.training.state import TrainState
from mgm_jax.training.tasks import Task

Report = Iterator[tuple[str, float | UInt8[np.ndarray, "h w 3"]]]


class PictureReporter:
    """Reconstructions of a few clips.

    Attributes:
        every: Steps between reports; 0 for none.
        score: None; pictures say nothing of the model's worth.
    """

    score: float | None = None

    def __init__(self, config: ConfigDict, task: Task, source: VideoSource):
        """Reads the clips.

        Args:
            config: The run's config.
            task: What the run computes.
            source: The videos.
        """
        self.every = config.pictures_every
        self._gallery = None
        if not self.every:
            return
        try:
            self._gallery = Gallery(config, task.model, source)
        except VideoError as error:
            self.every = 0
            logging.warning("training without pictures: %s", error)

    def report(self, state: TrainState, step: int) -> Report:
        """Yields names and pictures."""
        if self._gallery is not None:
            yield from self._gallery.sheets(state.params, step)


class AccuracyReporter:
    """Accuracy on videos that are not trained on.

    A linear probe with several heads is judged by one, chosen on a held-out part of the training
    videos.

    Attributes:
        every: Steps between reports; 0 for none.
        score: Top-1 accuracy of the last report, that of the held-out part where there is one.
        config: The run's config.
        source: The videos.
    """

    score: float | None = None

    def __init__(
        self,
        config: ConfigDict,
        task: Task,
        mesh: Mesh,
        state_sharding: Any,
        class_names: tuple[str, ...],
        held_out: VideoSource | None,
    ):
        """Opens the videos.

        Args:
            config: The run's config.
            task: What the run computes.
            mesh: Devices.
            state_sharding: Sharding of the state.
            class_names: Classes that the model knows.
            held_out: Training videos put aside, to choose a head.

        Raises:
            ConfigError: There are no videos to evaluate on, or their classes are others.
        """
        self.every = config.eval.every
        self.config = config
        self.source = source = make_eval_source(config, class_names)

        def evaluator(videos: VideoSource, temporal_views: int, spatial_views: int) -> Evaluator:
            return Evaluator(
                config,
                videos,
                mesh,
                task.predict_fn,
                state_sharding,
                temporal_views=temporal_views,
                spatial_views=spatial_views,
            )

        self._subset = evaluator(evenly_spaced(source, config.eval.subset), 1, 1)
        self._held_out = None if held_out is None else evaluator(held_out, 1, 1)
        self._whole = evaluator(source, config.eval.temporal_views, config.eval.spatial_views)

    def report(self, state: TrainState, step: int) -> Report:
        """Evaluates one view of some videos and yields names and accuracies."""
        head, chosen_by = self._choose_head(state)
        predictions = self._subset.run(state).head(head)
        top1 = float(predictions.accuracy(1)[0])
        self.score = top1 if chosen_by is None else chosen_by
        logging.info(
            "step %d: top-1 %.1f %% of %d videos, one view",
            step,
            100 * top1,
            np.count_nonzero(predictions.counted),
        )
        yield "eval/top1", top1
        if len(predictions.class_names) > 5:
            yield "eval/top5", float(predictions.accuracy(5)[0])
        if chosen_by is not None:
            yield "eval/head", float(head)
            yield "eval/held_out_top1", chosen_by

    def final(self, state: TrainState) -> tuple[Predictions, dict[str, Any]]:
        """Evaluates all views of all videos.

        Returns:
            The predictions of one head, and what describes the evaluation.
        """
        head, chosen_by = self._choose_head(state)
        settings = {
            "temporal_views": self.config.eval.temporal_views,
            "spatial_views": self.config.eval.spatial_views,
        }
        if chosen_by is not None:
            settings |= {"head": head, "held_out_top1": chosen_by}
        return self._whole.run(state).head(head), settings

    def _choose_head(self, state: TrainState) -> tuple[int, float | None]:
        if self._held_out is None:
            return 0, None
        accuracy = self._held_out.run(state).accuracy(1)
        return int(accuracy.argmax()), float(accuracy.max())


def split_held_out(
    config: ConfigDict, source: VideoSource
) -> tuple[VideoSource, VideoSource | None]:
    """Puts aside training videos for the choice among a probe's heads, at random by the seed.

    Args:
        config: The run's config.
        source: Training videos.

    Returns:
        The videos to train on, and those put aside; None where there is nothing to choose.
    """
    if config.task != "linear_probe" or len(config.probe.learning_rate_factors) == 1:
        return source, None
    count = max(1, round(config.probe.held_out * len(source)))
    order = np.random.default_rng(config.seed).permutation(len(source))
    return SubsetSource(source, np.sort(order[count:])), SubsetSource(source, order[:count])


def make_reporter(
    config: ConfigDict,
    task: Task,
    mesh: Mesh,
    state_sharding: Any,
    source: VideoSource,
    held_out: VideoSource | None,
) -> PictureReporter | AccuracyReporter:
    """What reports about a run of this task.

    Args:
        config: The run's config.
        task: What the run computes.
        mesh: Devices.
        state_sharding: Sharding of the state.
        source: Training videos.
        held_out: Those put aside.

    Returns:
        The reporter.

    Raises:
        ConfigError: There are no videos to evaluate on, or their classes are others.
    """
    if config.task == "pretrain":
        return PictureReporter(config, task, source)
    names = tuple(source.class_names)
    return AccuracyReporter(config, task, mesh, state_sharding, names, held_out)
