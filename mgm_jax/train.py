"""The training loop, the same for every task."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import clu.parameter_overview
import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mgm_jax import config as config_lib
from mgm_jax.convert import architecture, init_from
from mgm_jax.data.clips import LoadClip
from mgm_jax.data.key_clips import LoadKeyFrames
from mgm_jax.data.loader import ClipBatches
from mgm_jax.data.manifest import Manifest, make_manifest
from mgm_jax.data.records import VideoSource
from mgm_jax.errors import ConfigError, MgmError, NonFiniteLossError
from mgm_jax.evaluation.full_evaluation import make_reporter, write_evaluation
from mgm_jax.evaluation.periodic import AccuracyReporter, DetectionReporter, PictureReporter
from mgm_jax.evaluation.videos import Videos, open_videos
from mgm_jax.io import AnyPath, make_path, replacing
from mgm_jax.training import consistency, optimizer, sharding
from mgm_jax.training import metrics as metrics_lib
from mgm_jax.training.checkpoints import Checkpoints
from mgm_jax.training.integrity import recover
from mgm_jax.training.preemption import Preempted, Preemption
from mgm_jax.training.progress import Progress, Throughput
from mgm_jax.training.runs import describe_run
from mgm_jax.training.state import TrainState, abstract_state
from mgm_jax.training.step_counts import StepCounts, count_steps
from mgm_jax.training.tasks import STEPS_AHEAD, Task, jit_step, make_task
from mgm_jax.training.wandb_run import check_tracker

PARAMETERS_FILE = "parameters.txt"
FINAL_NUMBERS = ("top1", "top5", "mean_per_class", "frame_map")
"""Of the evaluation of all views of all videos, those that are written as metrics."""


def train(
    config: ConfigDict, workdir: str, devices: Sequence[jax.Device] | None = None
) -> TrainState:
    """Trains a run, or resumes it from its newest checkpoint.

    Checkpoints, metrics and results go to `workdir`, a folder or gs://BUCKET/PATH. All devices are
    used by default. Returns the state after the last step.

    Raises:
        ConfigError: A value that cannot work, or `workdir` is in use by another process, or its
            run has done more steps than the config asks for.
        CheckpointError: A save failed, or the checkpoint in `workdir` is of other data or another
            config, or damaged.
        WriteError: `workdir` cannot be written to.
        NonFiniteLossError: The loss or a gradient is not finite; the last good state is saved.
        Preempted: A signal asked the program to stop; the state is saved.
    """
    consistency.check_configs(config, workdir)
    config_lib.check_values(config)
    check_tracker(config)
    folder = make_path(workdir)
    mesh = sharding.make_mesh(config.mesh.to_dict(), devices)
    sharding.check_batch(mesh, config.batch_size, config.grad_accum_steps)
    videos = open_videos(config)
    consistency.check_init_from(config.init_from, config, videos.evaluated)
    counts = count_steps(config, len(videos.train))
    task = make_task(config, videos.train.class_names, counts.total_steps, counts.warmup_steps)
    abstract = abstract_state(task.init_fn, mesh)
    consistency.check_videos(videos.sources)
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
        folder / "checkpoints",
        keep=config.checkpoints_kept,
        scored=config.task != "pretrain",
        scored_on=reporter.scored_on,
    )
    state, data_state = _start_or_resume(
        config, checkpoints, task, abstract, manifest, videos.evaluated
    )
    if state.step > counts.total_steps:
        raise ConfigError(
            f"the run in {folder} has done {state.step} steps, more than the {counts.total_steps} "
            "of the config; raise config.num_steps or config.epochs"
        )
    describe_run(folder, config, source.class_names)
    _log_setup(config, folder, mesh, source, counts, state)

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
        rows=sharding.host_rows(mesh, config.batch_size, jax.process_index()),
    )
    done = batches.next_batch
    copies = config.data.repeated_augmentation
    throughput = Throughput(config.batch_size * copies)
    profiler = metrics_lib.ProfilerWindow(folder / "profile", *config.profile_steps)
    unlogged: list[dict[str, jax.Array]] = []

    def save(step: int, score: float | None = None) -> None:
        writer.flush()
        data_state = batches.state() | _item_counts(batches) | {"videos": manifest}
        checkpoints.save(step, state, data_state, config, score)

    @contextlib.contextmanager
    def keeping(step: int) -> Iterator[None]:
        """Saves the state of a step if what is inside, reading or evaluating, fails."""
        try:
            yield
        except (MgmError, jax.errors.JaxRuntimeError):
            if jax.process_count() == 1 and step > done:  # Others may not have failed.
                save(step)
            raise

    with contextlib.closing(metrics_lib.Writer(folder, config, from_step=done)) as writer:
        with Preemption() as preemption, contextlib.ExitStack() as closing:
            progress = Progress(throughput, done=done, last=counts.stop_step)
            # All are closed, in reverse order, even if one of them fails: a full disk under the
            # metrics must not lose the checkpoint that is being written.
            for part in (checkpoints, batches, profiler, progress):
                closing.callback(part.close)
            for step in range(done + 1, counts.stop_step + 1):
                profiler.before(step)
                with throughput.waiting(), keeping(step - 1):
                    batch = sharding.global_batch(sharding.batch_sharding(mesh), next(batches))
                state, step_metrics = step_fn(state, batch)
                if batches.worker_failure:
                    preemption.request(batches.worker_failure)
                del batch  # Frees the data workers' shared memory.
                unlogged.append(step_metrics)
                if len(unlogged) > STEPS_AHEAD:
                    jax.block_until_ready(unlogged[-1 - STEPS_AHEAD])
                progress.advance()

                last = step == counts.stop_step
                preempted = preemption.should_stop(step) and not last
                non_finite = None
                due = step % config.checkpoint_every == 0 or last or preempted
                report = reporter.every and (
                    step % reporter.every == 0 or step == counts.total_steps
                )
                # What is saved is logged: after a crash the steps before are not run again.
                if step % config.log_every == 0 or due or report or step == done + 1:
                    finished = jax.device_get(unlogged)
                    unlogged.clear()
                    values = metrics_lib.summarise(finished) | throughput.report(len(finished))
                    values["train/epoch"] = step / counts.steps_per_epoch
                    values["data/skipped_clips"] = copies * _item_counts(batches)["skipped"]
                    writer.write(step, values | metrics_lib.device_memory())
                    progress.show(step, values)
                    non_finite = _first_non_finite(finished, step)

                # When preempted, there may be only seconds left.
                score = None
                if report and not preempted and non_finite is None:
                    with throughput.pausing(), keeping(step):
                        writer.write(step, reporter.report(state.variables, step))
                    score = reporter.score
                if due or score is not None or non_finite is not None:
                    save(step, score)
                if non_finite is not None:
                    raise NonFiniteLossError(
                        f"the loss or a gradient of step {non_finite} is not finite. Such steps "
                        f"leave the parameters unchanged; the state is saved at step {step} in "
                        f"{folder}. Lower config.optimizer.base_lr, set "
                        "config.optimizer.clip_norm=1.0 or config.model.dtype=float32, and resume "
                        "with --config.allow_config_change"
                    )
                if preempted:
                    raise Preempted(f"step {step} is saved")
        logging.info("done: step %d of %d, in %s", counts.stop_step, counts.total_steps, folder)
        if counts.stop_step == counts.total_steps and not isinstance(reporter, PictureReporter):
            writer.flush()
            found = write_evaluation(reporter, state.variables, counts.total_steps, folder)
            measured = {f"final/{n}": v for n, v in found.summary().items() if n in FINAL_NUMBERS}
            writer.write(counts.total_steps, {n: v for n, v in measured.items() if v is not None})
    return state


def _start_or_resume(
    config: ConfigDict,
    checkpoints: Checkpoints,
    task: Task,
    abstract: TrainState,
    manifest: Manifest,
    evaluated: VideoSource | None,
) -> tuple[TrainState, dict[str, Any] | None]:
    if checkpoints.latest_step() is not None:
        consistency.check_checkpoint(checkpoints, config, manifest, evaluated)
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
        params, report = init_from.initialise(state.params, config.init_from, names, config)
        logging.info("%s", report)
        state = state.replace(params=jax.tree.map(jax.device_put, params, shardings.params))
    return state, None


def _log_setup(
    config: ConfigDict,
    folder: AnyPath,
    mesh: Mesh,
    source: VideoSource,
    counts: StepCounts,
    state: TrainState,
) -> None:
    """Logs what the run is, and writes the table of its parameters to a file."""
    if jax.process_index() == 0:
        table = clu.parameter_overview.get_parameter_overview(state.params, include_stats=False)
        with replacing(folder / PARAMETERS_FILE) as file:
            file.write(f"{table}\n".encode())
    sizes = {n: sum(x.size for x in jax.tree.leaves(part)) for n, part in state.params.items()}
    total = sum(sizes.values())
    parts = [f"{n} {size / 1e6:.1f}" for n, size in sizes.items() if size > total / 100]
    data = config.data
    masks = ""
    if "masking" in config:
        ratio = config_lib.mask_ratio(config.masking)
        masks = f"; masks: {config.masking.strategy}, ratio {ratio:g}"
    spacing = f"stride {data.stride}"
    if data.sampling == "segments":
        spacing = "one from each of equal parts"
    learning_rate = optimizer.scale_rate(config.optimizer.base_lr, config.batch_size)
    for line in (
        f"model: {architecture.from_config(config, len(source.class_names))}, "
        f"{config.model.dtype}; {total / 1e6:.1f} million "
        f"parameters ({', '.join(parts)}), listed in {folder / PARAMETERS_FILE}",
        f"started from: {config.init_from or 'random parameters'}",
        f"data: {len(source)} videos, {len(source.class_names)} classes; clips of "
        f"{data.clip_frames} frames, {spacing}, {data.size} pixels{masks}",
        f"batch: {config.batch_size} videos on "
        + " x ".join(f"{axis} {size}" for axis, size in mesh.shape.items()),
        f"schedule: {counts.total_steps} steps with {counts.warmup_steps} of warm-up, "
        f"{counts.steps_per_epoch:.2f} steps per epoch; peak learning rate {learning_rate:.3g}",
    ):
        logging.info("%s", line)


def _item_counts(batches: ClipBatches) -> dict[str, int]:
    return sharding.sum_over_processes({"seen": batches.seen, "skipped": batches.skipped})


def _first_non_finite(finished: Sequence[dict[str, np.ndarray]], step: int) -> int | None:
    for number, values in enumerate(finished, step - len(finished) + 1):
        if not np.isfinite([values["loss"], values["gradient_norm"]]).all():
            return number
    return None
