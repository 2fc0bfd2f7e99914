"""The work of a preparation on one machine: conversions and shards, dealt out to processes."""

import collections
from collections.abc import Sequence

from absl import logging

from data_prep import shards
from data_prep.conversion import Conversion, Settings
from data_prep.entries import UNREADABLE, Problem
from data_prep.progress import Progress
from data_prep.shards import Clip, Shard
from data_prep.workers import Died, Workers

# A clip that ends its process is tried again: the machine may have run out of memory.
_TRIES = 2


def make_shards(
    planned: Sequence[Shard],
    *,
    class_names: Sequence[str],
    key_frames: bool,
    folder: str,
    settings: Settings,
    workers: int,
) -> None:
    """Converts and writes all that is not finished, in the order of the shards.

    Args:
        planned: Shards of a dataset.
        class_names: In the order of their labels.
        key_frames: Whether records are clips around key frames.
        folder: Of the videos.
        settings: Of the conversion.
        workers: Processes that convert; 0 does it in this process.

    Raises:
        RuntimeError: A process ended while it wrote a shard, twice.
    """
    to_do = []
    for shard in planned:
        if shards.read_finished(shard) is None:
            to_do.append(shard)
        else:
            shards.remove_conversions(shard)
    clips = [
        [clip for clip in shard.clips if clip.entry.file and shards.read_conversion(clip) is None]
        for shard in to_do
    ]
    conversions = collections.deque(
        (number, clip) for number, of_shard in enumerate(clips) for clip in of_shard
    )
    left = [len(of_shard) for of_shard in clips]
    writes = collections.deque(number for number in range(len(to_do)) if not left[number])
    _log_start(planned, to_do, len(conversions))
    progress = Progress("videos", len(conversions), sum(clip.num_bytes for _, clip in conversions))
    tries: collections.Counter[tuple[int, Clip | None]] = collections.Counter()
    with Workers(workers) as pool:
        while True:
            while pool.has_room and (writes or conversions):
                if writes:
                    number, clip = writes.popleft(), None
                    arguments = (to_do[number], class_names, key_frames)
                    pool.submit((number, clip), shards.write_shard, *arguments)
                else:
                    number, clip = conversions.popleft()
                    pool.submit((number, clip), shards.convert_and_keep, clip, folder, settings)
            if not pool.is_busy:
                break
            task, result = pool.wait()
            number, clip = task
            if isinstance(result, Died):
                tries[task] += 1
                if tries[task] < _TRIES:
                    conversions.appendleft(task) if clip else writes.append(number)
                    continue
                if clip is None:
                    raise RuntimeError(
                        f"the process that wrote {to_do[number].path.name} ended "
                        f"({result.describe()}); the machine may lack memory"
                    )
                reason = f"the process that converted it ended ({result.describe()})"
                problem = Problem.of(UNREADABLE, clip.entry, reason)
                shards.keep_conversion(clip, Conversion(b"", {}, problem))
            if clip is not None:
                progress.add(clip.num_bytes)
                left[number] -= 1
                if not left[number]:
                    writes.append(number)
    progress.close()


def _log_start(planned: Sequence[Shard], to_do: Sequence[Shard], num_conversions: int) -> None:
    there = sum(clip.entry.file is not None for shard in planned for clip in shard.clips)
    logging.info(
        "%d videos in %d shards; to do: %d videos, %d shards",
        there,
        len(planned),
        num_conversions,
        len(to_do),
    )
