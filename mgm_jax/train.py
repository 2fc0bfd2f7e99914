"""The training loop, the same for every task."""

import contextlib
import datetime
from collections.abc import Sequence
from typing import Any

import clu.parameter_overview
import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mgm_jax import config as config_lib
from mgm_jax.convert import init_from
from mgm_jax.data.clips import LoadClip
from mgm_jax.data.key_clips import LoadKeyFrames
from mgm_jax.data.loader import ClipBatches
from mgm_jax.data.manifest import Manifest, make_manifest
from mgm_jax.data.records import VideoSource
from mgm_jax.errors import NonFiniteLossError
from mgm_jax.evaluation.detections import DetectionReporter
from mgm_jax.evaluation.full_evaluation import make_reporter, write_evaluation
from mgm_jax.evaluation.periodic import AccuracyReporter, PictureReporter
from mgm_jax.evaluation.videos import Videos, open_videos
from mgm_jax.io import AnyPath, make_path
from mgm_jax.training import consistency, sharding
from mgm_jax.training import metrics as metrics_lib
from mgm_jax.training.checkpoints import Checkpoints
from mgm_jax.training.integrity import recover
from mgm_jax.training.preemption import Preempted, Preemption
from mgm_jax.training.runs import describe_run
from mgm_jax.training.state import TrainState, abstract_state
from mgm_jax.training.step_counts import StepCounts, count_steps
from mgm_jax.training.tasks import STEPS_AHEAD, Task, jit_step, make_task


def train(
    config: ConfigDict, workdir: str, devices: Sequence[jax.Device] | None = None
) -> TrainState:
    """Trains a run, or resumes it from its newest checkpoint.

    Checkpoints, metrics and results go to `workdir`, a folder or gs://BUCKET/PATH. All devices are
    used by default. Returns the state after the last step.

    Raises:
        ConfigError: A value that cannot work, or another run in `workdir`.
        CheckpointError: A save failed, or the checkpoint in `workdir` is of other data or another
            config, or damaged.
        WriteError: `workdir` cannot be written to.
        NonFiniteLossError: The loss or a gradient is not finite; the last good state is saved.
        Preempted: A signal asked the program to stop; the state is saved.
    """
    consistency.check_configs(config, workdir)
    config_lib.check_values(config)
    folder = make_path(workdir)
    mesh = sharding.make_mesh(config.mesh.to_dict(), devices)
    sharding.check_batch(mesh, config.batch_size, config.grad_accum_steps)
    videos = open_videos(config)
    counts = count_steps(config, len(videos.train))
    task = make_task(config, videos.train.class_names, counts.total_steps, counts.warmup_steps)
    abstract = abstract_state(task.init_fn, mesh)
    consistency.check_videos(vars(videos))
    with consistency.locked_workdir(folder):
        return _train(config, folder, mesh, videos, counts, task, abstract)


def _train(
    config: ConfigDict,
    folder: AnyPath,
    mesh: Mesh,
    videos: Videos,
    counts: StepCounts,
    task: Task,
    abstract: TrainState,
) -> TrainState:
    """Trains in a folder that is locked."""
    source, manifest = videos.train, make_manifest(videos.train)
    reporter: PictureReporter | AccuracyReporter | DetectionReporter
    if task.predict_fn is None:
        reporter = PictureReporter(config, task.model, videos)
    else:
        reporter = make_reporter(config, mesh, task.predict_fn, videos)
    recover(folder / "checkpoints")
    checkpoints = Checkpoints(
        folder / "checkpoints", keep=config.checkpoints_kept, scored=config.task != "pretrain"
    )
    state, data_state = _start_or_resume(config, checkpoints, task, abstract, manifest)
    describe_run(folder, config, source.class_names)
    _log_setup(config, mesh, source, counts, state)

    state_shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    step_fn = jit_step(task, mesh, state_shardings)
    load = LoadKeyFrames if config.task == "detect" else LoadClip
    batches = ClipBatches.from_config(
        config.data,
        load.from_config(config.data, source, needs_class=config.task != "pretrain"),
        global_batch=config.batch_size,
        num_batches=counts.stop_step,
        seed=config.seed,
        state=data_state,
        process=(jax.process_index(), jax.process_count()),
    )
    first_step = batches.next_batch + 1
    writer = metrics_lib.Writer(folder, from_step=batches.next_batch)
    throughput = metrics_lib.Throughput(config.batch_size * config.data.repeated_augmentation)
    profiler = metrics_lib.ProfilerWindow(folder / "profile", *config.profile_steps)
    unlogged: list[dict[str, jax.Array]] = []

    with Preemption() as preemption, contextlib.ExitStack() as closing:
        # All are closed, in reverse order, even if one of them fails: a full disk under the metrics
        # must not lose the checkpoint that is being written.
        for part in (checkpoints, writer, batches, profiler):
            closing.callback(part.close)
        for step in range(first_step, counts.stop_step + 1):
            profiler.before(step)
            with throughput.waiting():
                batch = sharding.global_batch(sharding.batch_sharding(mesh), next(batches))
            state, step_metrics = step_fn(state, batch)
            if batches.worker_failure:
                preemption.request(batches.worker_failure)
            del batch  # Frees the data workers' shared memory.
            unlogged.append(step_metrics)
            if len(unlogged) > STEPS_AHEAD:
                jax.block_until_ready(unlogged[-1 - STEPS_AHEAD])

            last = step == counts.stop_step
            preempted = preemption.should_stop(step) and not last
            non_finite = None
            if step % config.log_every == 0 or last or preempted or step == first_step:
                finished = jax.device_get(unlogged)
                unlogged.clear()
                _log_step(step, counts, finished, throughput, _clip_counts(batches), writer)
                non_finite = _first_non_finite(finished, step)

            # When preempted, there may be only seconds left.
            report = reporter.every and not preempted and non_finite is None
            report = report and (step % reporter.every == 0 or step == counts.total_steps)
            score = None
            if report:
                with throughput.pausing():
                    writer.write(step, reporter.report(state.variables, step))
                score = reporter.score
            due = step % config.checkpoint_every == 0 or last or preempted
            if due or score is not None or non_finite is not None:
                writer.flush()
                data_state = batches.state() | _clip_counts(batches) | {"videos": manifest}
                checkpoints.save(step, state, data_state, config, score)
            if non_finite is not None:
                raise NonFiniteLossError(
                    f"the loss or a gradient of step {non_finite} is not finite. Such steps leave "
                    f"the parameters unchanged; the state is saved at step {step} in {folder}. "
                    "Lower config.optimizer.base_lr, set config.optimizer.clip_norm=1.0 or "
                    "config.model.dtype=float32, and resume with --config.allow_config_change"
                )
            if preempted:
                raise Preempted(f"step {step} is saved")
    logging.info("done: step %d of %d, in %s", counts.stop_step, counts.total_steps, folder)
    if counts.stop_step == counts.total_steps and not isinstance(reporter, PictureReporter):
        write_evaluation(reporter, state.variables, counts.total_steps, folder)
    return state


def _start_or_resume(
    config: ConfigDict,
    checkpoints: Checkpoints,
    task: Task,
    abstract: TrainState,
    manifest: Manifest,
) -> tuple[TrainState, dict[str, Any] | None]:
    if checkpoints.latest_step() is not None:
        consistency.check_checkpoint(checkpoints, config, manifest)
        state, data_state = checkpoints.restore(abstract)
        if jax.process_index():
            # The saved counts are sums over all processes; the first one carries them on.
            data_state |= {"seen": 0, "skipped": 0}
        logging.info("resuming from the checkpoint of step %d", checkpoints.latest_step())
        return state, data_state
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    state = jax.jit(task.init_fn, out_shardings=shardings)()
    if config.init_from:
        names = () if config.task == "pretrain" else manifest["classes"]
        params, report = init_from.initialise(
            state.params, config.init_from, names, config.model.positions
        )
        logging.info("%s", report)
        state = state.replace(params=jax.tree.map(jax.device_put, params, shardings.params))
    return state, None


def _log_setup(
    config: ConfigDict, mesh: Mesh, source: VideoSource, counts: StepCounts, state: TrainState
) -> None:
    logging.info(
        "\n%s", clu.parameter_overview.get_parameter_overview(state.params, include_stats=False)
    )
    if "masking" in config:
        ratio = config_lib.mask_ratio(config.masking)
        logging.info("masks: %s, ratio %g", config.masking.strategy, ratio)
    logging.info(
        "%d videos, %d classes; global batch %d on %s, %.2f steps per epoch, %d steps with %d of "
        "warm-up; peak learning rate %.3g",
        len(source),
        len(source.class_names),
        config.batch_size,
        " x ".join(f"{axis} {size}" for axis, size in mesh.shape.items()),
        counts.steps_per_epoch,
        counts.total_steps,
        counts.warmup_steps,
        config.optimizer.base_lr * config.batch_size / 256,
    )


def _log_step(
    step: int,
    counts: StepCounts,
    finished: Sequence[dict[str, np.ndarray]],
    throughput: metrics_lib.Throughput,
    clip_counts: dict[str, int],
    writer: metrics_lib.Writer,
) -> None:
    values = metrics_lib.summarise(finished)
    values |= throughput.report(len(finished), counts.stop_step - step)
    values |= {"epoch": step / counts.steps_per_epoch, "skipped_clips": clip_counts["skipped"]}
    writer.write(step, values)
    logging.info(
        "step %d/%d  epoch %.1f  loss %.4f  lr %.2e  %.1f clips/s  data wait %.0f%%  skipped %d  "
        "ETA %s",
        step,
        counts.total_steps,
        values["epoch"],
        values["loss"],
        values["learning_rate"],
        values["clips_per_second"],
        100 * values["data_wait_share"],
        clip_counts["skipped"],
        datetime.timedelta(seconds=round(values["eta_seconds"])),
    )


def _clip_counts(batches: ClipBatches) -> dict[str, int]:
    return sharding.sum_over_processes({"seen": batches.seen, "skipped": batches.skipped})


def _first_non_finite(finished: Sequence[dict[str, np.ndarray]], step: int) -> int | None:
    for number, values in enumerate(finished, step - len(finished) + 1):
        if not np.isfinite([values["loss"], values["gradient_norm"]]).all():
            return number
    return None
