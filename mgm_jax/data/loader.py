"""Batches of clips for one host, read by worker processes with Grain.

The global order is one sequence: the shuffled items (videos, or their views) of epoch 0, of epoch
1, and so on. What is read at each position depends only on the seed and the position. Batch `b`
is the positions `[b · batch, (b + 1) · batch)`, of which each host reads those of its devices. So
the batches do not depend on the number of workers or hosts, and a run resumes at any batch by its
number. The last, incomplete batch of the whole run is dropped; epochs are not cut. The copies of
an item follow each other in the batch.
"""

import functools
import gc
import math
import multiprocessing
import queue
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import grain
import numpy as np
from absl import flags, logging
from ml_collections import ConfigDict

from mgm_jax.data.clips import LoadTransform, error_message
from mgm_jax.data.workers import ReadsInProgress, death_of_worker, set_up_worker
from mgm_jax.errors import ConfigError, ReadTimeoutError, TooManySkippedError, WorkerError

HOST_FIELDS = ("video", "error", "frames", "source_box")
"""Fields of a loader's result that are not sent to the device."""

_CLOSE_SECONDS = 10
_MIN_CLIPS_TO_JUDGE = 100  # Clips to read before the fraction of skipped ones can stop a run.


def _with_position(position: int, item: int) -> tuple[int, int]:
    return position, item


def _own(clips: grain.MapDataset, rows: Sequence[int], global_batch: int, number: int) -> Any:
    """The clip at place `number` of these rows of batch 0, of batch 1, and so on."""
    batch, place = divmod(number, len(rows))
    return clips[batch * global_batch + rows[place]]


def _load_recorded(
    load: LoadTransform, reads: ReadsInProgress, element: tuple[int, int], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    with reads.reading(element[1]):
        return load.random_map(element, rng)


class ClipBatches:
    """Iterator over this host's rows of every global batch, as dictionaries of numpy arrays.

    Unreadable videos are counted, named once in the log, and stop the run if there are too many.
    Close the iterator when done: it owns processes.

    Args:
        load: Reads the clips of one item.
        global_batch: Items per batch over all hosts; copies do not count.
        num_batches: Number of the batch before which to end, also when resuming.
        seed: Seed of the order, the start frames and the crops; None keeps the source's order, for
            loaders without randomness.
        state: Where to resume, from `state()`; None starts at the first batch.
        rows: Those of each global batch that this host reads, in items; None for all.
        num_workers: Worker processes; 0 reads in threads of this process.
        max_bad_fraction: Largest fraction of clips that may be unreadable.
        read_timeout: Longest wait for a batch, seconds.

    Attributes:
        next_batch: Number of the next batch.
        seen: Items read.
        skipped: Items among them that were unreadable.
        errors: Why a video could not be read, by its index in the source.
        worker_failure: Why a worker process died; since then, threads of this process read.

    Raises:
        ConfigError: The number of videos differs from the state's.
    """

    def __init__(
        self,
        load: LoadTransform,
        *,
        global_batch: int,
        num_batches: int,
        seed: int | None,
        state: Mapping[str, int] | None = None,
        rows: Sequence[int] | None = None,
        num_workers: int = 0,
        max_bad_fraction: float = 0.1,
        read_timeout: float = 600.0,
    ):
        num_videos, num_items = len(load.source), load.num_items
        start = {"next_batch": 0, "skipped": 0, "seen": 0, "num_videos": num_videos}
        state = start | dict(state or {})  # A converted run has seen no data.
        if state["num_videos"] != num_videos:
            raise ConfigError(
                f"the data held {state['num_videos']} videos when the run began and holds "
                f"{num_videos} now, so the run cannot resume; restore the data, or start a new run "
                "in another --workdir"
            )
        self.next_batch, self.skipped, self.seen = (
            state[name] for name in ("next_batch", "skipped", "seen")
        )
        self.read_timeout = read_timeout
        self.worker_failure: str | None = None
        self._load, self._num_workers = load, num_workers
        self._first_batch = self.next_batch
        self._max_bad_fraction = max_bad_fraction
        self._reads = ReadsInProgress()
        self.errors: dict[int, str] = {}

        positions = num_batches * global_batch
        order = grain.MapDataset.range(num_items).seed(seed or 0)
        if seed is not None:
            order = order.shuffle()
        order = order.repeat(max(1, math.ceil(positions / num_items)))
        read = functools.partial(_load_recorded, load, self._reads)
        clips = order.map_with_index(_with_position).random_map(read)
        own_rows = range(global_batch) if rows is None else tuple(rows)
        read_own = functools.partial(_own, clips, own_rows, global_batch)

        def batches_from(number: int) -> grain.MapDataset:
            numbers = (batch * len(own_rows) for batch in (number, num_batches))
            return grain.MapDataset.range(*numbers).map(read_own).batch(len(own_rows))

        self._batches_from = batches_from
        self._start(num_workers)

    def _start(self, num_workers: int) -> None:
        # Grain's default buffer of 500 elements would hold gigabytes of clips.
        threads = 1 if num_workers else 2
        dataset = self._batches_from(self.next_batch).to_iter_dataset(
            grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2)
        )
        if num_workers:
            if not flags.FLAGS.is_parsed():  # Grain reads flags, which in a notebook nobody parses.
                flags.FLAGS.mark_as_parsed()
            dataset = dataset.mp_prefetch(
                grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2),
                worker_init_fn=set_up_worker,
            )
        self._iterator: Any = iter(dataset)
        self._other_children: frozenset[Any] | None = None  # Known when the workers start.

    @classmethod
    def from_config(cls, config: ConfigDict, load: LoadTransform, **settings: Any) -> "ClipBatches":
        """Batches with the workers, the timeout and the tolerance of a run's config.data."""
        names = ("num_workers", "max_bad_fraction", "read_timeout")
        return cls(load, **({name: config[name] for name in names} | settings))

    def __iter__(self) -> "ClipBatches":
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        """The next batch, with one leading axis of this host's clips (see `LoadClip.random_map`).

        Raises:
            ReadTimeoutError: It did not come in time.
            TooManySkippedError: More clips than allowed were unreadable.
            WorkerError: A worker died before the first batch after resuming.
        """
        try:
            batch = self._fetch()
        except (RuntimeError, OSError, MemoryError) as error:
            self.worker_failure = death_of_worker(error) if self._num_workers else None
            if self.worker_failure is None:
                raise
            if 0 < self.next_batch == self._first_batch:
                raise WorkerError(self.worker_failure) from error
            logging.error("%s", self.worker_failure)
            self._stop()
            self._num_workers = 0
            self._start(0)
            batch = self._fetch()
        # The copies of an item are read, and fail, together.
        self._account(batch["video"][:, 0], batch["error"][:, 0])
        self.next_batch += 1
        return {
            name: array.reshape(-1, *array.shape[2:])
            for name, array in batch.items()
            if name not in HOST_FIELDS
        }

    def state(self) -> dict[str, int]:
        """What a checkpoint stores to resume after the last returned batch."""
        return {
            "next_batch": self.next_batch,
            "skipped": self.skipped,
            "seen": self.seen,
            "num_videos": len(self._load.source),
        }

    def close(self) -> None:
        """Ends the worker processes."""
        self._stop()
        self._reads.remove()

    def _fetch(self) -> dict[str, np.ndarray]:
        iterator, results = self._iterator, queue.SimpleQueue[Any]()
        if self._other_children is None:
            self._other_children = frozenset(multiprocessing.active_children())

        def take() -> None:
            try:
                results.put(next(iterator))
            except Exception as error:
                results.put(error)

        # A daemon thread does not keep the process alive if a read hangs.
        threading.Thread(target=take, daemon=True).start()
        try:
            batch = results.get(timeout=self.read_timeout)
        except queue.Empty:
            raise self._timeout() from None
        if not isinstance(batch, Exception):
            return dict(batch)
        try:
            raise batch
        finally:
            del batch  # It refers to this frame.

    def _stop(self) -> None:
        # Grain's own close may wait forever for the rest of a message that a worker has half
        # written, so after some time the processes are killed.
        closing = threading.Thread(target=self._iterator.close, daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)
        if closing.is_alive():
            logging.warning("data workers did not end within %d s; killing them", _CLOSE_SECONDS)
            for worker in self._workers():
                worker.kill()
        # Grain's iterator keeps its last batch in a reference cycle; free its shared memory.
        self._iterator = None
        gc.collect()

    def _workers(self) -> list[Any]:
        others = self._other_children or ()
        return [child for child in multiprocessing.active_children() if child not in others]

    def _timeout(self) -> ReadTimeoutError:
        reads = [
            f"{self._load.describe(read.item)} (for {read.seconds:.0f} s by process {read.process})"
            for read in self._reads.snapshot()
        ]
        what = f"being read: {', '.join(reads)}" if reads else "nothing is being read"
        if self._num_workers:
            running, wanted = len(self._workers()), self._num_workers
            what += f"; {running} of config.data.num_workers={wanted} processes run"
        return ReadTimeoutError(
            f"no batch came within config.data.read_timeout={self.read_timeout:g} seconds; {what}. "
            "Check whether these files can be read at all (a stalled network mount, a locked "
            "file) and whether workers were killed; if reading is merely slow, raise the timeout. "
            "Start the run again to resume from its last checkpoint."
        )

    def _account(self, videos: np.ndarray, errors: np.ndarray) -> None:
        self.seen += int(np.count_nonzero(videos >= 0))
        for video, error in zip(videos.tolist(), errors, strict=True):
            reason = error_message(error)
            if not reason:
                continue
            self.skipped += 1
            if video not in self.errors:
                self.errors[video] = reason
                logging.warning("skipped %s", reason)
        if self.seen >= min(_MIN_CLIPS_TO_JUDGE, len(self._load.source)):
            names = [self._load.source.describe(video) for video in sorted(self.errors)]
            check_skipped(self.skipped, self.seen, self._max_bad_fraction, names)


def check_skipped(skipped: int, seen: int, max_bad_fraction: float, names: Sequence[str]) -> None:
    """Compares the clips that could not be read, of the videos `names`, with what is allowed.

    Raises:
        TooManySkippedError: They are more.
    """
    if skipped > max_bad_fraction * seen:
        raise TooManySkippedError(
            f"{skipped} of {seen} clips come from videos that cannot be read, more "
            f"than config.data.max_bad_fraction={max_bad_fraction}; among them: "
            f"{', '.join(names[:5])}. The warnings in the log give the reason for each: repair or "
            "remove these videos, or raise the fraction."
        )
