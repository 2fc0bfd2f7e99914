"""Memory of the training process and its workers while clips are read.

    python -m benchmarks.input_memory --path=DATASET --split=train --clips=10000

reads clips as training does and prints Markdown; docs/input_pipeline.md keeps it. Linux only: what
belongs to each process (PSS) comes from /proc.
"""

import dataclasses
import multiprocessing
import os
import pathlib
import sys
from collections.abc import Sequence

from absl import app, flags

from benchmarks.timing import markdown_table, when_and_where
from mgm_jax.data.clip_reader import ReadSpec
from mgm_jax.data.clips import LoadClip
from mgm_jax.data.loader import ClipBatches
from mgm_jax.data.records import RecordSource, VideoSource
from mgm_jax.errors import MgmError

MOST_GROWTH = 0.05
"""Over the second half of the clips: less counts as flat."""

HOW_TO_READ = """\
*How to read it.* Memory that belongs to no file (heap and stacks), after so many clips; what
processes have in common is counted once. "Mapped" is the rest of all of them: libraries, files, and
the shared memory of the batches on their way, of which there are more at one moment than at
another, but never more than the queues hold. Caches fill and the heaps settle in the first half;
what counts is that the second stays the same."""


@dataclasses.dataclass(frozen=True)
class Memory:
    """Of all processes at one moment.

    Attributes:
        clips: Read so far.
        main: Bytes of this process that no file and no other process has.
        workers: The same of each worker.
        mapped: Bytes of all, of files and of the shared memory of the batches on their way.
    """

    clips: int
    main: int
    workers: tuple[int, ...]
    mapped: int

    @property
    def total(self) -> int:
        """Bytes of all processes, without what is mapped."""
        return self.main + sum(self.workers)


def look(clips: int) -> Memory:
    """The memory of this process and its children now, after so many clips."""
    processes = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    main, *workers = own = [proportional_set_size(process, "Pss_Anon") for process in processes]
    whole = sum(proportional_set_size(process, "Pss") for process in processes)
    return Memory(clips, main, tuple(workers), max(whole - sum(own), 0))


def proportional_set_size(process: int, part: str) -> int:
    """Bytes of a process, of what it shares its share: `Pss`, or `Pss_Anon` for memory of no file.

    Raises:
        OSError: The kernel does not tell.
    """
    for line in pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == part:
            return int(value.split()[0]) * 1024
    raise OSError(f"/proc/{process}/smaps_rollup has no line {part}")


def measure(
    source: VideoSource,
    *,
    clips: int,
    batch: int,
    workers: int,
    size: int,
    window: int,
    points: int = 10,
) -> list[Memory]:
    """Reads clips and looks at the memory now and then.

    Args:
        source: Of videos, which are read again and again.
        clips: How many to read.
        batch: Clips per batch.
        workers: Worker processes.
        size: Side of the clip, pixels.
        window: Side of the window, pixels.
        points: How often to look.

    Returns:
        The memory after the first batch, and then at even distances.
    """
    loader = LoadClip(source, ReadSpec(size=size, host_crop_size=window))
    num_batches = -(-clips // batch)
    every = max(num_batches // points, 1)
    batches = ClipBatches(
        loader, global_batch=batch, num_batches=num_batches, seed=0, num_workers=workers
    )
    seen = []
    try:
        for number, _ in enumerate(batches, 1):
            # At the last batch the workers may have ended already.
            if number == 1 or (number % every == 0 and number < num_batches):
                seen.append(look(number * batch))
    finally:
        batches.close()
    return seen


def make_report(seen: Sequence[Memory], command: str) -> str:
    """The measurements as Markdown, with the verdict."""
    mega = 1e6
    rows = [
        (
            f"{memory.clips}",
            f"{memory.main / mega:.0f}",
            f"{sum(memory.workers) / mega:.0f}",
            f"{memory.total / mega:.0f}",
            f"{memory.mapped / mega:.0f}",
        )
        for memory in seen
    ]
    header = ("clips", "this process, MB", "workers, MB", "both, MB", "mapped, MB")
    last = seen[-1]
    early, half = (seen[min(place, len(seen) - 1)] for place in (1, len(seen) // 2))
    growth = last.total / half.total - 1
    return "\n\n".join(
        [
            f"    {command}",
            when_and_where(),
            HOW_TO_READ,
            markdown_table(header, rows),
            f"From clip {early.clips} to {last.clips} it grew by "
            f"{100 * (last.total / early.total - 1):.1f} %, from clip {half.clips} on by "
            f"{100 * growth:.1f} %; less than {100 * MOST_GROWTH:.0f} % in the second half counts "
            f"as flat: {'flat' if growth < MOST_GROWTH else 'not flat'}.",
        ]
    )


def main(argv: Sequence[str]) -> None:
    """Measures what the flags say and prints the report."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    values = flags.FLAGS
    settings = {name: values[name].value for name in ("clips", "batch", "workers", "size")}
    settings["window"] = values.window
    try:
        seen = measure(RecordSource(values.path, values.split), **settings)
    except MgmError as error:
        sys.exit(f"error: {error}")
    flags_given = " ".join(f"--{name}={value}" for name, value in settings.items())
    print(make_report(seen, f"python -m benchmarks.input_memory --path=DATASET {flags_given}"))


if __name__ == "__main__":
    flags.DEFINE_string("path", None, "A prepared dataset.", required=True)
    flags.DEFINE_string("split", "train", "Its split.")
    flags.DEFINE_integer("clips", 10_000, "Clips to read.", lower_bound=1)
    flags.DEFINE_integer("batch", 8, "Clips per batch.", lower_bound=1)
    flags.DEFINE_integer("workers", 2, "Worker processes.", lower_bound=0)
    flags.DEFINE_integer("size", 224, "Side of the clip, pixels.", lower_bound=8)
    flags.DEFINE_integer("window", 256, "Side of the window, pixels.", lower_bound=8)
    app.run(main)
