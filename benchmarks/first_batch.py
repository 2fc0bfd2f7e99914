"""How long the first batch takes after the start of the readers, in a process of its own.

    python -m benchmarks.first_batch --path=DATASET --split=train --workers=2

prints the seconds from building `ClipBatches` to its first batch (starting the worker processes,
their imports, opening the dataset, reading the clips), on the wall and of CPU time.
"""

import dataclasses
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence

from absl import app, flags

from mgm_jax.data.clip_reader import ReadSpec
from mgm_jax.data.clips import LoadClip
from mgm_jax.data.loader import ClipBatches
from mgm_jax.data.records import RecordSource


@dataclasses.dataclass(frozen=True)
class Start:
    """What the first batch took.

    Attributes:
        wall: Seconds on the wall.
        cpu: Seconds of CPU time of the process until the batch was there, and of one worker in all.
    """

    wall: float
    cpu: float


def measure_start(path: str, split: str, batch: int, workers: int) -> Start:
    """Measures in a fresh process.

    Args:
        path: Of a prepared dataset.
        split: Of it.
        batch: Clips per batch.
        workers: Worker processes.

    Returns:
        The times.
    """
    command = [sys.executable, "-m", "benchmarks.first_batch", f"--path={path}"]
    command += [f"--split={split}", f"--batch={batch}", f"--workers={workers}"]
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    printed = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE).stdout
    return Start(*map(float, printed.split()))


def main(argv: Sequence[str]) -> None:
    """Prints the seconds."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    values = flags.FLAGS
    start, start_cpu = time.perf_counter(), time.process_time()
    source = RecordSource(values.path, values.split)
    loader = LoadClip(source, ReadSpec())
    batches = ClipBatches(
        loader, global_batch=values.batch, num_batches=1, seed=0, num_workers=values.workers
    )
    next(batches)
    wall, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    batches.close()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu += (children.ru_utime + children.ru_stime) / max(values.workers, 1)
    print(wall, cpu)


if __name__ == "__main__":
    flags.DEFINE_string("path", None, "A prepared dataset.", required=True)
    flags.DEFINE_string("split", "train", "Its split.")
    flags.DEFINE_integer("batch", 8, "Clips per batch.", lower_bound=1)
    flags.DEFINE_integer("workers", 2, "Worker processes; 0 reads in threads.", lower_bound=0)
    app.run(main)
