"""The one training loop: mesh → data → state → step → log, report, checkpoint."""

import collections
import contextlib
import datetime
from collections.abc import Sequence
from typing import Any

import clu.metrics
import clu.parameter_overview
import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mgm_jax import config as config_lib
from mgm_jax.convert import init_from
from mgm_jax.data.clips import make_clip_loader
from mgm_jax.data.loader import ClipBatches
from mgm_jax.data.sources import make_source
from mgm_jax.data.video_records import VideoSource
from mgm_jax.errors import NonFiniteLossError
from mgm_jax.evaluation.full_evaluation import write_evaluation
from mgm_jax.evaluation.periodic import AccuracyReporter, PictureReporter
from mgm_jax.evaluation.videos import split_held_out
from mgm_jax.io import make_path
from mgm_jax.training import metrics as metrics_lib
from mgm_jax.training import sharding
from mgm_jax.training.checkpoints import Checkpoints, refuse_other_config
from mgm_jax.training.integrity import recover
from mgm_jax.training.preemption import Preemption
from mgm_jax.training.runs import describe_run
from mgm_jax.training.state import TrainState, abstract_state
from mgm_jax.training.step_counts import StepCounts, count_steps
from mgm_jax.training.tasks import STEPS_AHEAD, jit_step, make_task


def train(
    config: ConfigDict, workdir: str, devices: Sequence[jax.Device] | None = None
) -> TrainState:
    """Trains, or goes on training, the run of a folder.

    Args:
        config: The run's config.
        workdir: Folder of the run, or gs://: checkpoints, metrics, pictures, results.
        devices: Devices to train on; all by default.

    Returns:
        The state after the last step.

    Raises:
        ConfigError: A value that cannot work.
        CheckpointError: The folder's checkpoint was made with another config, all are damaged, or a
            save failed.
        NonFiniteLossError: The loss or a gradient is not finite; the last good state is saved.
        Preempted: A signal asked to leave; the state is saved.
    """
    config_lib.check_values(config)
    folder = make_path(workdir)
    mesh = sharding.make_mesh(config.mesh.to_dict(), devices)
    sharding.check_batch(mesh, config.batch_size, config.grad_accum_steps)
    source = make_source(config.data.source, config.data.path, config.data.split, config.data.root)
    source, held_out = split_held_out(config, source)
    plan = count_steps(config, len(source))
    task = make_task(config, source.class_names, plan.total_steps, plan.warmup_steps)
    abstract = abstract_state(task.init_fn, mesh)
    state_shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    reporter: PictureReporter | AccuracyReporter
    if task.predict_fn is None:
        reporter = PictureReporter(config, task.model, source)
    else:
        variables = state_shardings.variables
        names = tuple(source.class_names)
        reporter = AccuracyReporter(config, mesh, task.predict_fn, variables, names, held_out)

    recover(folder / "checkpoints")
    checkpoints = Checkpoints(
        folder / "checkpoints", keep=config.checkpoints_kept, scored=config.task != "pretrain"
    )
    if checkpoints.latest_step() is None:
        state, data_state = jax.jit(task.init_fn, out_shardings=state_shardings)(), None
        if config.init_from:
            state = start_from(state, config.init_from)
    else:
        refuse_other_config(checkpoints, config)
        state, data_state = checkpoints.restore(abstract)
        if jax.process_index():
            data_state |= {"seen": 0, "skipped": 0}  # Of all processes; the first goes on with it.
        logging.info("going on from the checkpoint of step %d", checkpoints.latest_step())
    describe_run(folder, config, source.class_names)
    _describe(config, mesh, source, plan, state)

    batch_sharding = sharding.batch_sharding(mesh)
    step_fn = jit_step(task, mesh, state_shardings)
    batches = ClipBatches(
        make_clip_loader(config.data, source),
        global_batch=config.batch_size,
        num_batches=plan.stop_step,
        seed=config.seed,
        state=data_state,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        num_workers=config.data.num_workers,
        max_bad_fraction=config.data.max_bad_fraction,
        read_timeout=config.data.read_timeout,
    )
    writer = metrics_lib.Writer(folder, from_step=batches.next_batch)
    throughput = metrics_lib.Throughput(config.batch_size * config.data.repeated_augmentation)
    profiler = metrics_lib.ProfilerWindow(folder / "profile", *config.profile_steps)
    pending: list[clu.metrics.Collection] = []
    in_flight: collections.deque[Any] = collections.deque()
    first_step = batches.next_batch

    with Preemption() as preemption, contextlib.ExitStack() as closing:
        # Closed from the last to the first, each whatever the others raise: a metrics file on a
        # full disk does not lose the checkpoint that is being written.
        for part in (checkpoints, writer, batches, profiler):
            closing.callback(part.close)
        for step in range(first_step + 1, plan.stop_step + 1):
            profiler.before(step)
            with throughput.waiting():
                batch = sharding.global_batch(batch_sharding, next(batches))
            state, step_metrics = step_fn(state, batch)
            del batch  # Its shared memory is to be free before the workers end.
            pending.append(step_metrics)
            in_flight.append(step_metrics)
            if len(in_flight) > STEPS_AHEAD:
                jax.block_until_ready(in_flight.popleft())

            last = step == plan.stop_step
            leaving = preemption.reached(step) and not last
            if step % config.log_every == 0 or last or leaving or step == first_step + 1:
                pending = jax.device_get(pending)
                _log(step, plan, pending, throughput, _counts(batches), writer)
                broken = _first_non_finite(pending, step)
                pending = []
                if broken is not None:
                    checkpoints.save(step, state, batches.state() | _counts(batches), config)
                    raise NonFiniteLossError(
                        f"the loss or a gradient of step {broken} is not finite. Steps like it "
                        f"left the parameters as they were; the state is saved at step {step} in "
                        f"{folder}. Lower config.optimizer.base_lr, set "
                        "config.optimizer.clip_norm=1.0 or config.model.dtype=float32, and go on "
                        "with --config.allow_config_change"
                    )
            due = reporter.every and (step % reporter.every == 0 or step == plan.total_steps)
            due = due and not leaving  # There may be seconds left.
            if due:
                with throughput.pausing():
                    for name, value in reporter.report(state.variables, step):
                        writer.write(step, name, value)
            scored = due and reporter.score is not None
            if step % config.checkpoint_every == 0 or last or leaving or scored:
                score = reporter.score if due else None
                data_state = batches.state() | _counts(batches)
                writer.flush()
                checkpoints.save(step, state, data_state, config, score)
            if leaving:
                preemption.leave(step)
    logging.info("done: step %d of %d, in %s", plan.stop_step, plan.total_steps, folder)
    if plan.stop_step == plan.total_steps and isinstance(reporter, AccuracyReporter):
        write_evaluation(reporter, state.variables, plan.total_steps, folder)
    return state


def start_from(state: TrainState, path: str) -> TrainState:
    """Replaces fresh parameters by those that another model has, and says which.

    Raises:
        CheckpointError: There is no model, or its tensors do not fit.
    """
    params, what = init_from.initialise(state.params, path)
    logging.info("%s", what)
    placed = jax.tree.map(lambda new, old: jax.device_put(new, old.sharding), params, state.params)
    return state.replace(params=placed)


def _describe(
    config: ConfigDict, mesh: Mesh, source: VideoSource, plan: StepCounts, state: TrainState
) -> None:
    logging.info(
        "\n%s", clu.parameter_overview.get_parameter_overview(state.params, include_stats=False)
    )
    scale = config.batch_size / 256
    logging.info(
        "%d videos, %d classes; global batch %d on %s, %.2f steps per epoch, %d steps with %d of "
        "warm-up; learning rate %.3g = %.3g x %d / 256, to %.3g",
        len(source),
        len(source.class_names),
        config.batch_size,
        " x ".join(f"{axis} {size}" for axis, size in mesh.shape.items()),
        plan.steps_per_epoch,
        plan.total_steps,
        plan.warmup_steps,
        config.optimizer.base_lr * scale,
        config.optimizer.base_lr,
        config.batch_size,
        config.optimizer.min_lr * scale,
    )


def _log(
    step: int,
    plan: StepCounts,
    pending: list[clu.metrics.Collection],
    throughput: metrics_lib.Throughput,
    counts: dict[str, int],
    writer: metrics_lib.Writer,
) -> None:
    values = metrics_lib.summarise(pending)
    values |= throughput.report(len(pending), plan.stop_step - step)
    values |= {"epoch": step / plan.steps_per_epoch, "skipped_clips": counts["skipped"]}
    writer.scalars(step, values)
    logging.info(
        "step %d/%d  epoch %.1f  loss %.4f  lr %.2e  %.1f clips/s  data wait %.0f%%  skipped %d  "
        "ETA %s",
        step,
        plan.total_steps,
        values["epoch"],
        values["loss"],
        values["learning_rate"],
        values["clips_per_second"],
        100 * values["data_wait_share"],
        counts["skipped"],
        datetime.timedelta(seconds=round(values["eta_seconds"])),
    )


def _counts(batches: ClipBatches) -> dict[str, int]:
    return sharding.sum_over_processes({"seen": batches.seen, "skipped": batches.skipped})


def _first_non_finite(pending: list[clu.metrics.Collection], step: int) -> int | None:
    for offset, step_metrics in enumerate(pending):
        values = step_metrics.compute()
        if not np.isfinite([values["loss"], values["gradient_norm"]]).all():
            return step - len(pending) + 1 + offset
    return None
