"""How long the first batch takes from the start of the readers.

    python -m benchmarks.first_batch --path=DATASET [--split=train] [--workers=2] [--batch=8]

Prints the wall-clock seconds from building `ClipBatches` to its first batch (worker processes and
their imports, opening the data set, reading the clips), and the CPU seconds of this process and of
one worker together.
"""

import resource
import time
from collections.abc import Sequence

from absl import app, flags

from configs import k400_pretrain
from mgm_jax.data.clips import LoadClip
from mgm_jax.data.loader import ClipBatches
from mgm_jax.data.records import RecordSource


def main(_: Sequence[str]) -> None:
    """Prints the seconds."""
    values = flags.FLAGS
    config = k400_pretrain.get_config().data
    start, cpu_start = time.perf_counter(), time.process_time()
    batches = ClipBatches(
        LoadClip.from_config(config, RecordSource(values.path, values.split)),
        global_batch=values.batch,
        num_batches=1,
        seed=0,
        num_workers=values.workers,
    )
    next(batches)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    batches.close()
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu += (workers.ru_utime + workers.ru_stime) / max(values.workers, 1)
    print(f"first batch: {wall:.2f} s, CPU {cpu:.2f} s")


if __name__ == "__main__":
    flags.DEFINE_string("path", None, "A prepared data set.", required=True)
    flags.DEFINE_string("split", "train", "Its split.")
    flags.DEFINE_integer("batch", 8, "Clips per batch.", lower_bound=1)
    flags.DEFINE_integer("workers", 2, "Worker processes; 0 uses threads.", lower_bound=0)
    app.run(main)
