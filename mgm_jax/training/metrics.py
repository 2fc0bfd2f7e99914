"""Metrics of a run, and where they are written: metrics.jsonl, TensorBoard, wandb, profiles."""

import json
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import jax
import numpy as np
from absl import logging
from jaxtyping import UInt8
from ml_collections import ConfigDict

from mgm_jax import config as config_lib
from mgm_jax.errors import WriteError
from mgm_jax.io import AnyPath, cure, in_bucket, replacing, upload, writing
from mgm_jax.training.wandb_run import WandbRun

# Objects of a bucket cannot grow, so each upload writes the whole files again. To limit the cost,
# uploads are at least this many seconds apart, and take at most this fraction of the time.
_UPLOAD_SECONDS = 60
_UPLOAD_FRACTION = 0.02

_RENAMED = {
    **{name: f"train/{name}" for name in ("loss", "learning_rate", "gradient_norm", "epoch")},
    "train_top1": "train/top1",
    "clips_per_second": "train/clips_per_second",
    "data_wait_share": "data/wait",
    "skipped_clips": "data/skipped_clips",
}
"""Names of earlier versions, and today's."""


def summarise(steps: Sequence[Mapping[str, float | np.ndarray]]) -> dict[str, float]:
    """Averages the metrics of several steps, as `train/NAME`; of the learning rate, the last."""
    means = {f"train/{name}": float(np.mean([one[name] for one in steps])) for name in steps[0]}
    return means | {"train/learning_rate": float(steps[-1]["learning_rate"])}


def device_memory() -> dict[str, float]:
    """The most memory that the first device of this process has used; empty on CPUs."""
    used = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return {} if used is None else {"device/peak_memory_gib": used / 2**30}


class Writer:
    """Writes numbers to `metrics.jsonl` and TensorBoard files, and pictures to the latter.

    With `config.tracker="wandb"` both go to Weights & Biases too. Only the first process writes.
    Files of a bucket are written on this machine and uploaded from time to time.
    """

    def __init__(self, workdir: AnyPath, config: ConfigDict, *, from_step: int = 0):
        """Opens the files, and drops what a run wrote that resumes after `from_step`.

        That is lines of later steps, and of the evaluation at the end.
        """
        self._active = jax.process_index() == 0
        if not self._active:
            return
        self._tensorboard = _import_tensorboard()
        self._workdir, self._upload_at = workdir, 0.0
        self._staging = tempfile.TemporaryDirectory() if in_bucket(workdir) else None
        self._folder = folder = pathlib.Path(self._staging.name) if self._staging else workdir
        written, path = workdir / "metrics.jsonl", folder / "metrics.jsonl"
        if written.exists():
            kept = [
                line
                for line in read_lines(written)
                if line["step"] <= from_step and not any(n.startswith("final/") for n in line)
            ]
            with replacing(path) as file:
                file.write("".join(json.dumps(line) + "\n" for line in kept).encode())
        with writing(folder):
            (folder / "tensorboard").mkdir(parents=True, exist_ok=True)
            self._file = path.open("a")
            # Its SummaryWriter loses errors in a thread, and then waits for it forever.
            self._events = self._tensorboard.event_file_writer.EventsWriter(
                str(folder / "tensorboard" / "events")
            )
            self._add_event(from_step + 1, session_log={"status": "START"})
            text = json.dumps(config_lib.to_json(config), indent=2)
            as_code = "".join(f"    {line}\n" for line in text.splitlines())
            self._add_event(from_step, summary=self._tensorboard.summary.text("config", as_code))
        self._wandb = WandbRun(workdir, config) if config.tracker == "wandb" else None

    def write(self, step: int, values: Mapping[str, float | UInt8[np.ndarray, "h w 3"]]) -> None:
        """Writes numbers, one line of `metrics.jsonl`, and pictures."""
        if not self._active:
            return
        numbers = {n: value for n, value in values.items() if not isinstance(value, np.ndarray)}
        summary = self._tensorboard.summary
        with writing(self._folder):
            if numbers:
                self._file.write(json.dumps({"step": step, **numbers}) + "\n")
            for name, value in values.items():
                if isinstance(value, np.ndarray):
                    self._add_event(step, summary=summary.image(name, value, dataformats="HWC"))
                else:
                    self._add_event(step, summary=summary.scalar(name, value))
        if self._wandb is not None:
            self._wandb.write(step, values)
        if self._staging is None or time.monotonic() >= self._upload_at:
            self.flush()

    def flush(self) -> None:
        """Makes everything written readable; call it before a checkpoint that resumes from here."""
        if not self._active:
            return
        with writing(self._folder):
            self._file.flush()
            self._events.flush()
            os.stat(self._file.name)  # Writing to a deleted file is no error.
        if self._staging is not None:
            start = time.monotonic()
            try:
                self._upload()
            except WriteError as error:  # What failed may pass; checkpoints matter more.
                logging.warning("%s It is tried again later.", error)
            end = time.monotonic()
            self._upload_at = end + max(_UPLOAD_SECONDS, (end - start) / _UPLOAD_FRACTION)

    def close(self) -> None:
        """Closes the files."""
        if not self._active:
            return
        with writing(self._folder), self._file:
            self._events.close()
        if self._staging is not None:
            self._upload()
            self._staging.cleanup()
        if self._wandb is not None:
            self._wandb.close()

    def _upload(self) -> None:
        try:
            upload(self._folder, self._workdir)
        except Exception as error:  # Those of gcsfs have no class of their own.
            raise WriteError(
                f"the metrics in {self._workdir} cannot be written ({error}). "
                f"{cure(error, self._workdir)}."
            ) from error

    def _add_event(self, step: int, **content: Any) -> None:
        event = self._tensorboard.proto.event_pb2.Event
        self._events.write_event(event(step=step, wall_time=time.time(), **content))


def _import_tensorboard() -> ModuleType:
    """Imports tensorboardX without PyTorch and Google's client, which it loads where it finds them.

    They take seconds and hundreds of megabytes, and are not needed to write local files.
    """
    left_out = [name for name in ("torch", "google.cloud.storage") if name not in sys.modules]
    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(left_out))  # None makes an import fail.
    try:
        import tensorboardX
    finally:
        for name in left_out:
            del modules[name]
    return tensorboardX


def read_lines(file: AnyPath) -> list[dict[str, float]]:
    """Reads the values of each line of a `metrics.jsonl`; damaged lines are left out and counted.

    The last line is damaged if the program was killed while it wrote it. Names of earlier versions
    are returned as today's.
    """
    lines, damaged = file.read_bytes().splitlines(), []
    found = []
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
            numbers = [values["step"], *values.values()]
            if not all(isinstance(value, int | float) for value in numbers):
                raise TypeError("not a number")
            found.append({_RENAMED.get(name, name): value for name, value in values.items()})
        except (ValueError, TypeError, KeyError):
            damaged.append(number)
    if damaged and damaged != [len(lines)]:
        logging.warning("%s: lines %s are damaged and left out", file, str(damaged[:9])[1:-1])
    return found


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
