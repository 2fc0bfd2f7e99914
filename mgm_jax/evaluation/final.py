"""Evaluation of a trained model on all views of all videos: numbers, files, a page."""

from collections.abc import Sequence

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from mgm_jax import config as config_lib
from mgm_jax.data.sources import make_source
from mgm_jax.errors import ConfigError
from mgm_jax.evaluation import html_report, summary
from mgm_jax.evaluation.evaluator import Predictions
from mgm_jax.evaluation.periodic import AccuracyReporter, split_held_out
from mgm_jax.io import AnyPath, make_path
from mgm_jax.training.runs import open_run, read_config
from mgm_jax.training.state import TrainState


def evaluate(
    config: ConfigDict, workdir: str, devices: Sequence[jax.Device] | None = None
) -> Predictions:
    """Evaluates the checkpoint of a run alone, all views of all videos.

    Args:
        config: The run's config, with which videos and views.
        workdir: Folder of the run.
        devices: Devices to evaluate on; all by default.

    Returns:
        The predictions.

    Raises:
        ConfigError: A value that cannot work, or a run that classifies nothing.
        CheckpointError: There is no run, or no complete checkpoint.
    """
    config_lib.check_values(config)
    if config.task == "pretrain":
        raise ConfigError("config.mode=eval: a pretraining run classifies nothing; finetune it")
    run = open_run(
        workdir,
        checkpoint=config.eval.checkpoint,
        config=config,
        devices=devices or jax.devices(),
    )
    for difference in _seen_otherwise(config, workdir):
        logging.warning("not as in training: config.%s", difference)
    source = make_source(config.data.source, config.data.path, config.data.split, config.data.root)
    _, held_out = split_held_out(config, source)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, run.state)
    reporter = AccuracyReporter(config, run.task, run.mesh, shardings, run.class_names, held_out)
    return write_evaluation(reporter, run.state, run.step, make_path(workdir))


def _seen_otherwise(config: ConfigDict, workdir: str) -> list[str]:
    """How the model is shown clips otherwise than in training, which may cost accuracy unseen."""
    trained = config_lib.to_json(read_config(workdir))
    names = ("clip_frames", "stride", "sampling", "size", "host_crop_size")
    return [
        line
        for line in config_lib.differences(config, trained)
        if line.startswith(tuple(f"data.{name}:" for name in names))
    ]


def write_evaluation(
    reporter: AccuracyReporter, state: TrainState, step: int, folder: AnyPath
) -> Predictions:
    """Evaluates all views of all videos, and says and writes what came out."""
    logging.info("evaluating all views of all videos")
    predictions, settings = reporter.final(state)
    logging.info(
        "step %d: top-1 %.2f %% of %d videos, %s",
        step,
        100 * predictions.accuracy(1)[0],
        np.count_nonzero(predictions.counted),
        ", ".join(f"{name} {value}" for name, value in settings.items()),
    )
    if jax.process_index() == 0:
        facts = {"step": step, "settings": settings}
        files = summary.write_results(predictions, folder, **facts)
        page = html_report.write_report(
            folder, predictions, reporter.source, reporter.config, **facts
        )
        for file in (*files, page):
            logging.info("wrote %s", file)
    return predictions
