"""What is measured during training, and where it is written."""

import contextlib
import functools
import json
import pathlib
import sys
import tempfile
import time
import types
from collections.abc import Iterator, Sequence

import clu.metrics
import flax.struct
import jax
import numpy as np
from jaxtyping import UInt8

from mgm_jax.io import AnyPath, in_bucket, replacing, upload

# What a bucket gets of growing files is all of them anew: no more often, and no larger a share of
# the time, than this.
_UPLOAD_SECONDS = 60
_UPLOAD_SHARE = 0.02


@flax.struct.dataclass
class PretrainMetrics(clu.metrics.Collection):
    """Metrics of pretraining steps; merging two averages what should be averaged."""

    loss: clu.metrics.Average.from_output("loss")
    gradient_norm: clu.metrics.Average.from_output("gradient_norm")
    learning_rate: clu.metrics.LastValue.from_output("learning_rate")


@flax.struct.dataclass
class ClassifyMetrics(clu.metrics.Collection):
    """Metrics of training a classifier; `train_top1` is among the clips as augmented."""

    loss: clu.metrics.Average.from_output("loss")
    train_top1: clu.metrics.Average.from_output("train_top1")
    gradient_norm: clu.metrics.Average.from_output("gradient_norm")
    learning_rate: clu.metrics.LastValue.from_output("learning_rate")


def summarise(steps: Sequence[clu.metrics.Collection]) -> dict[str, float]:
    """Merges the metrics of several steps, which are on the host already."""
    merged = functools.reduce(lambda left, right: left.merge(right), steps)
    return {name: float(value) for name, value in merged.compute().items()}


class Writer:
    """Writes scalars to `metrics.jsonl` and TensorBoard files, pictures to TensorBoard.

    The first process writes for all. Files of a bucket are written on this machine and follow now
    and then.
    """

    def __init__(self, workdir: AnyPath, *, from_step: int = 0):
        """Opens the files.

        Args:
            workdir: Folder of the run.
            from_step: Step the run goes on from; later lines of an interrupted run are dropped.
        """
        self._file = self._board = None
        if jax.process_index():
            return
        self._workdir, self._upload_at = workdir, 0.0
        self._here = tempfile.TemporaryDirectory() if in_bucket(workdir) else None
        folder = pathlib.Path(self._here.name) if self._here else workdir
        written, path = workdir / "metrics.jsonl", folder / "metrics.jsonl"
        if written.exists():
            lines = written.read_text().splitlines(keepends=True)
            kept = [line for line in lines if _step_of(line) <= from_step]
            with replacing(path) as file:
                file.write("".join(kept).encode())
        self._file = path.open("a")
        tensorboard = _import_tensorboard()
        self._board = tensorboard.SummaryWriter(
            str(folder / "tensorboard"), purge_step=from_step + 1
        )

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Writes the values of a step and makes them visible at once, in a bucket soon."""
        if self._file is None:
            return
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        if self._here is None or time.monotonic() >= self._upload_at:
            self.flush()

    def write(self, step: int, name: str, value: float | UInt8[np.ndarray, "h w 3"]) -> None:
        """Writes a number, or a picture, which goes to TensorBoard alone."""
        if self._file is None:
            return
        if isinstance(value, np.ndarray):
            self._board.add_image(name, value, step, dataformats="HWC")
        else:
            self.scalars(step, {name: value})

    def flush(self) -> None:
        """Makes all that was written visible; call it before a checkpoint that resumes from it."""
        if self._file is None:
            return
        self._file.flush()
        self._board.flush()
        if self._here is not None:
            start = time.monotonic()
            upload(pathlib.Path(self._here.name), self._workdir)
            end = time.monotonic()
            self._upload_at = end + max(_UPLOAD_SECONDS, (end - start) / _UPLOAD_SHARE)

    def close(self) -> None:
        """Closes the files."""
        if self._file is None:
            return
        self._file.close()
        self._board.close()
        if self._here is not None:
            upload(pathlib.Path(self._here.name), self._workdir)
            self._here.cleanup()


def _import_tensorboard() -> types.ModuleType:
    """Imports tensorboardX without what it takes along wherever that is installed.

    These packages are several seconds of a start, for tensors and buckets that it is never given.
    """
    absent = {"torch", "google.cloud.storage", "boto3", "comet_ml"} - sys.modules.keys()
    sys.modules.update(dict.fromkeys(absent))
    try:
        import tensorboardX
    finally:
        for name in absent:
            del sys.modules[name]
    return tensorboardX


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except ValueError:  # A line that a kill cut short.
        return float("inf")


class Throughput:
    """Clips per second, time spent waiting for data, and the time to the end."""

    def __init__(self, batch_size: int):
        """Starts the clock.

        Args:
            batch_size: Clips per step.
        """
        self._batch_size = batch_size
        self._restart()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time inside as waiting for data."""
        start = time.monotonic()
        yield
        self._waited += time.monotonic() - start

    @contextlib.contextmanager
    def pausing(self) -> Iterator[None]:
        """Leaves the time inside out of the count."""
        start = time.monotonic()
        yield
        self._start += time.monotonic() - start

    def report(self, steps: int, steps_left: int) -> dict[str, float]:
        """Rates since the last report.

        Args:
            steps: Steps since the last report.
            steps_left: Steps to the end of the run.

        Returns:
            clips_per_second, data_wait_share (of the time), eta_seconds.
        """
        elapsed = time.monotonic() - self._start
        report = {
            "clips_per_second": steps * self._batch_size / elapsed,
            "data_wait_share": self._waited / elapsed,
            "eta_seconds": steps_left * elapsed / steps,
        }
        self._restart()
        return report

    def _restart(self) -> None:
        self._start, self._waited = time.monotonic(), 0.0


class ProfilerWindow:
    """Traces a few steps with the jax profiler, for TensorBoard's profile page or Perfetto."""

    def __init__(self, folder: AnyPath, first: int, last: int):
        """Sets the window.

        Args:
            folder: Where the trace goes.
            first: First step to trace; 0 for none.
            last: Last step to trace.
        """
        self._folder, self._first, self._last = folder, first, last
        self._here: tempfile.TemporaryDirectory | None = None
        self._running = False

    def before(self, step: int) -> None:
        """Call before each step: starts or ends the trace where it is due."""
        if self._first and step == self._first:
            # JAX writes traces on this machine alone.
            self._here = tempfile.TemporaryDirectory() if in_bucket(self._folder) else None
            jax.profiler.start_trace(self._here.name if self._here else str(self._folder))
            self._running = True
        elif step > self._last:
            self.close()

    def close(self) -> None:
        """Ends the trace if it runs."""
        if self._running:
            jax.profiler.stop_trace()
            self._running = False
            if self._here is not None:
                upload(pathlib.Path(self._here.name), self._folder)
                self._here.cleanup()
