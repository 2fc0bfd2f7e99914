"""Evaluation of a trained model on all views of all videos: numbers, files, a page."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mgm_jax import config as config_lib
from mgm_jax.errors import ConfigError
from mgm_jax.evaluation import html_report, results
from mgm_jax.evaluation.detections import Detections, describe, write_detections
from mgm_jax.evaluation.periodic import AccuracyReporter, DetectionReporter
from mgm_jax.evaluation.predictions import Predictions
from mgm_jax.evaluation.videos import Videos, reopen_videos
from mgm_jax.io import AnyPath, make_path
from mgm_jax.training import consistency
from mgm_jax.training.classify_step import PredictFn
from mgm_jax.training.runs import load_run
from mgm_jax.training.tasks import make_predict_fn

_INPUT_VALUES = ("clip_frames", "stride", "sampling", "size", "host_crop_size")
"""Values of `config.data` that change what the model is shown."""


def evaluate(
    config: ConfigDict, workdir: str, devices: Sequence[jax.Device] | None = None
) -> Predictions | Detections:
    """Evaluates a checkpoint of the run in `workdir`, on all devices by default.

    `config.eval` says which checkpoint, videos and views.

    Raises:
        ConfigError: A value that cannot work, or a pretraining run.
        CheckpointError: There is no run, or no complete checkpoint.
    """
    consistency.check_configs(config, workdir)
    config_lib.check_values(config)
    if config.task == "pretrain":
        raise ConfigError("config.mode=eval: a pretraining run classifies nothing; finetune it")
    run = load_run(
        workdir,
        checkpoint=config.eval.checkpoint,
        config=config,
        devices=devices or jax.devices(),
    )
    saved = run.saved_config
    assert saved is not None  # It has one, as a run.
    inputs = tuple(f"data.{name}:" for name in _INPUT_VALUES)
    changes = config_lib.changes(config, config_lib.to_json(saved))
    changes = [change for change in changes if change.startswith(inputs)]
    if config.task == "detect" and config.eval.detections != saved.eval.get("detections", ""):
        then, now = (one.eval.get("detections") or "annotated" for one in (saved, config))
        changes.append(f"eval.detections: boxes were {then}, now {now}")
    for change in changes:
        logging.warning("differs from training, which may change accuracy: config.%s", change)
    videos = reopen_videos(config, saved, run.class_names, run.manifest)
    consistency.check_init_from(saved.get("init_from", ""), config, videos.evaluated)
    consistency.check_videos(videos.sources)
    reporter = make_reporter(config, run.mesh, make_predict_fn(config, run.model), videos)
    described = saved.copy_and_resolve_references()  # What was trained, and how it is evaluated.
    described.update({name: config[name] for name in ("mode", "data", "eval")})
    folder = make_path(workdir)
    return write_evaluation(reporter, run.variables, run.step, folder, changes, described)


def make_reporter(
    config: ConfigDict, mesh: Mesh, predict_fn: PredictFn, videos: Videos
) -> AccuracyReporter | DetectionReporter:
    """What measures the model of `config.task`."""
    kind = DetectionReporter if config.task == "detect" else AccuracyReporter
    return kind(config, mesh, predict_fn, videos)


def write_evaluation(
    reporter: AccuracyReporter | DetectionReporter,
    variables: Mapping[str, Any],
    step: int,
    folder: AnyPath,
    changes: Sequence[str] = (),
    config: ConfigDict | None = None,
) -> Predictions | Detections:
    """Evaluates all views of all videos; logs and writes the result.

    `changes` are config values that differ from training; `config` is the one to show, by default
    that of the reporter.
    """
    logging.info("evaluating all views of all videos")
    found, settings = reporter.evaluate_all(variables)
    if isinstance(found, Detections):
        numbers = f"{describe(found)}; {100 * found.chance:.2f} % by chance"
    else:
        numbers = (
            f"top-1 {100 * found.accuracy(1):.2f} % of {np.count_nonzero(found.counted)} videos, "
            f"{np.count_nonzero(~found.read)} more could not be read"
        )
    if changes:
        settings["changes"] = list(changes)
    described = ", ".join(f"{name} {value}" for name, value in settings.items())
    logging.info("step %d: %s; %s", step, numbers, described)
    if jax.process_index() == 0:
        if isinstance(found, Detections):
            files = write_detections(found, reporter.source, folder, step=step, settings=settings)
        else:
            files = results.write_results(found, folder, step=step, settings=settings)
            page = html_report.write_report(
                folder, found, config or reporter.config, step=step, settings=settings
            )
            files.append(page)
        for file in files:
            logging.info("wrote %s", file)
    return found
