"""Metrics of training steps, and where they are written: metrics.jsonl, TensorBoard, profiles."""

import contextlib
import json
import os
import pathlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from jaxtyping import UInt8

from mgm_jax.io import AnyPath, in_bucket, replacing, upload, writing

# Objects of a bucket cannot grow, so each upload writes the whole files again. To limit the cost,
# uploads are at least this many seconds apart, and take at most this fraction of the time.
_UPLOAD_SECONDS = 60
_UPLOAD_FRACTION = 0.02


def summarise(steps: Sequence[Mapping[str, float | np.ndarray]]) -> dict[str, float]:
    """Averages the metrics of several steps; of the learning rate, takes the last."""
    means = {name: float(np.mean([values[name] for values in steps])) for name in steps[0]}
    return means | {"learning_rate": float(steps[-1]["learning_rate"])}


class Writer:
    """Writes scalars to `metrics.jsonl` and TensorBoard files, pictures to TensorBoard.

    Only the first process writes. Files of a bucket are written on this machine and uploaded from
    time to time.
    """

    def __init__(self, workdir: AnyPath, *, from_step: int = 0):
        """Opens the files, and drops lines of steps after `from_step`, where the run resumes."""
        self._active = jax.process_index() == 0
        if not self._active:
            return
        import tensorboardX  # Takes seconds with its optional packages, so only where it is used.

        self._workdir, self._upload_at = workdir, 0.0
        self._staging = tempfile.TemporaryDirectory() if in_bucket(workdir) else None
        folder = pathlib.Path(self._staging.name) if self._staging else workdir
        written, path = workdir / "metrics.jsonl", folder / "metrics.jsonl"
        if written.exists():
            kept = [line for line in read_lines(written) if line["step"] <= from_step]
            with replacing(path) as file:
                file.write("".join(json.dumps(line) + "\n" for line in kept).encode())
        with writing(workdir):
            (folder / "tensorboard").mkdir(parents=True, exist_ok=True)
            self._file = path.open("a")
            self._tensorboard = tensorboardX
            # Its SummaryWriter loses errors in a thread, and then waits for it forever.
            self._events = self._tensorboard.event_file_writer.EventsWriter(
                str(folder / "tensorboard" / "events")
            )
            self._add_event(from_step + 1, session_log={"status": "START"})

    def write(self, step: int, values: Mapping[str, float | UInt8[np.ndarray, "h w 3"]]) -> None:
        """Writes numbers and, to TensorBoard only, pictures; in a bucket after an upload."""
        if not self._active:
            return
        numbers = {n: value for n, value in values.items() if not isinstance(value, np.ndarray)}
        summary = self._tensorboard.summary
        with writing(self._workdir):
            if numbers:
                self._file.write(json.dumps({"step": step, **numbers}) + "\n")
            for name, value in values.items():
                if isinstance(value, np.ndarray):
                    self._add_event(step, summary=summary.image(name, value, dataformats="HWC"))
                else:
                    self._add_event(step, summary=summary.scalar(name, value))
        if self._staging is None or time.monotonic() >= self._upload_at:
            self.flush()

    def flush(self) -> None:
        """Makes everything written readable; call it before a checkpoint that resumes from here."""
        if not self._active:
            return
        with writing(self._workdir):
            self._file.flush()
            self._events.flush()
            os.stat(self._file.name)  # Writing to a deleted file is no error.
        if self._staging is not None:
            start = time.monotonic()
            upload(pathlib.Path(self._staging.name), self._workdir)
            end = time.monotonic()
            self._upload_at = end + max(_UPLOAD_SECONDS, (end - start) / _UPLOAD_FRACTION)

    def close(self) -> None:
        """Closes the files."""
        if not self._active:
            return
        with writing(self._workdir), self._file:
            self._events.close()
        if self._staging is not None:
            upload(pathlib.Path(self._staging.name), self._workdir)
            self._staging.cleanup()

    def _add_event(self, step: int, **content: Any) -> None:
        event = self._tensorboard.proto.event_pb2.Event
        self._events.write_event(event(step=step, wall_time=time.time(), **content))


def read_lines(file: AnyPath) -> list[dict[str, float]]:
    """Reads the values of each line of a `metrics.jsonl`; damaged lines are left out and counted.

    The last line is damaged if the program was killed while it wrote it.
    """
    lines, damaged = file.read_bytes().splitlines(), []
    found = []
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
            numbers = [values["step"], *values.values()]
            if not all(isinstance(value, int | float) for value in numbers):
                raise TypeError("not a number")
            found.append(values)
        except (ValueError, TypeError, KeyError):
            damaged.append(number)
    if damaged and damaged != [len(lines)]:
        logging.warning("%s: lines %s are damaged and left out", file, str(damaged[:9])[1:-1])
    return found


class Throughput:
    """Clips per second, time spent waiting for data, and the time to the end."""

    def __init__(self, batch_size: int):
        """Starts the clock; `batch_size` is the number of clips per step."""
        self._batch_size = batch_size
        self._restart()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time in this context as waiting for data."""
        start = time.monotonic()
        yield
        self._waited += time.monotonic() - start

    @contextlib.contextmanager
    def pausing(self) -> Iterator[None]:
        """Leaves the time in this context out of the rates."""
        start = time.monotonic()
        yield
        self._start += time.monotonic() - start

    def report(self, steps: int, steps_left: int) -> dict[str, float]:
        """The rates of the steps since the last report; `data_wait_share` is a fraction of time."""
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
        """Sets the first step to trace (0 for none) and the last."""
        self._folder, self._first, self._last = folder, first, last
        self._staging: tempfile.TemporaryDirectory | None = None
        self._running = False

    def before(self, step: int) -> None:
        """Starts or ends the trace; call it before each step."""
        if self._first and step == self._first:
            # JAX writes traces to local disks only.
            self._staging = tempfile.TemporaryDirectory() if in_bucket(self._folder) else None
            jax.profiler.start_trace(self._staging.name if self._staging else str(self._folder))
            self._running = True
        elif step > self._last:
            self.close()

    def close(self) -> None:
        """Ends the trace if it runs."""
        if self._running:
            jax.profiler.stop_trace()
            self._running = False
            if self._staging is not None:
                upload(pathlib.Path(self._staging.name), self._folder)
                self._staging.cleanup()
