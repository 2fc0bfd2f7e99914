"""Batches of clips for one host, read by worker processes with Grain.

The global order is one sequence: the shuffled items (videos, or their views) of epoch 0, of epoch
1, and so on. What is read at each position depends on the seed and the position alone. Batch `b`
is the positions `[b · batch, (b + 1) · batch)`, of which each host reads its part in one piece.
So the batches are the same whatever the number of workers or hosts, and a run resumes at any batch
by its number. The last, incomplete batch of the whole run is left out; epochs are not cut. Where a
loader cuts several clips, the copies, out of an item, they follow each other in the batch.
"""

import gc
import math
import multiprocessing
import queue
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import grain
import numpy as np
from absl import logging

from mgm_jax.data.clips import ClipLoader
from mgm_jax.data.read_notes import NotedLoader, ReadNotes
from mgm_jax.data.worker_process import set_up_worker
from mgm_jax.errors import ConfigError, ReadTimeoutError, TooManySkippedError

HOST_FIELDS = ("video", "error", "frames", "source_box")
"""What a loader tells about a clip that the device has no use for."""

_CLOSE_SECONDS = 10
_SKIP_GRACE = 100  # Clips before the share of skipped ones can stop a run.


def _with_position(position: int, video: int) -> tuple[int, int]:
    return position, video


class _Fetcher:
    """Takes elements from an iterator in a thread, so that waiting for one can be given up.

    It takes none before it is asked to, and keeps none.
    """

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._requests: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()
        # A daemon: it does not keep a process alive whose read hangs.
        self._thread = threading.Thread(target=self._serve, args=(iterator,), daemon=True)
        self._thread.start()

    def fetch(self, seconds: float) -> Any:
        """The next element; raises what the iterator raises, `queue.Empty` after the time."""
        self._requests.put(True)
        element, error = self._results.get(timeout=seconds)
        if error is None:
            return element
        try:
            raise error
        finally:
            del error  # It refers to this frame.

    def close(self) -> None:
        """Ends the thread; one that hangs is left behind."""
        self._requests.put(False)
        self._thread.join(1)

    def _serve(self, iterator: Iterator[Any]) -> None:
        while self._requests.get():
            try:
                self._results.put((next(iterator), None))
            except Exception as error:
                self._results.put((None, error))


class ClipBatches:
    """Iterator over this host's rows of every global batch, as dictionaries of numpy arrays.

    Unreadable videos are counted, named once in the log, and stop the run when their share grows
    too large. Close the iterator when done: it owns processes.

    Attributes:
        next_batch: Number of the batch to come.
        seen: Items read.
        skipped: Items among them that were unreadable.
        videos: Index in the source of each clip of the last batch; -1 where it only fills up.
        read_timeout: Longest wait for a batch, seconds.
        errors: Why a video could not be read, by its index in the source.
    """

    def __init__(
        self,
        load: ClipLoader,
        *,
        global_batch: int,
        num_batches: int,
        seed: int,
        state: Mapping[str, int] | None = None,
        shuffle: bool = True,
        process_index: int = 0,
        process_count: int = 1,
        num_workers: int = 0,
        max_bad_fraction: float = 0.1,
        read_timeout: float = 600.0,
    ):
        """Starts the readers.

        Args:
            load: Reads the clips of one item.
            global_batch: Items per batch over all hosts; copies do not count.
            num_batches: Number of the batch before which to end, also when going on from a state.
            seed: Seed of the order, the start frames and the crops.
            state: Where to go on, as `state()` gave it; None starts at the first batch.
            shuffle: Whether to shuffle each epoch; else the source's order.
            process_index: This host among `process_count`.
            process_count: Hosts that share each batch.
            num_workers: Worker processes; 0 reads in threads of this process.
            max_bad_fraction: Largest share of clips that may be unreadable.
            read_timeout: Longest wait for a batch, seconds.

        Raises:
            ConfigError: The batch is not divisible by the hosts, or the data has another number
                of videos than at the state.
        """
        if global_batch % process_count:
            raise ConfigError(
                f"config.batch_size={global_batch} is not divisible by {process_count} processes"
            )
        num_videos, num_items = len(load.source), load.num_items
        state = state or {"next_batch": 0, "skipped": 0, "seen": 0, "num_videos": num_videos}
        if state["num_videos"] != num_videos:
            raise ConfigError(
                f"the data held {state['num_videos']} videos when the run began and holds "
                f"{num_videos} now, so its order cannot be gone on with; restore the data, or "
                "start anew in another --workdir"
            )
        self.next_batch, self.skipped, self.seen = (
            state[name] for name in ("next_batch", "skipped", "seen")
        )
        self._source = load.source
        self._max_bad_fraction = max_bad_fraction
        self.read_timeout = read_timeout
        self._notes = ReadNotes()
        self.errors: dict[int, str] = {}
        self._copies = load.copies
        self.videos = np.zeros(0, np.int64)

        positions = num_batches * global_batch
        order = grain.MapDataset.range(num_items).seed(seed)
        if shuffle:
            order = order.shuffle()
        order = order.repeat(max(1, math.ceil(positions / num_items)))
        clips = order.map_with_index(_with_position).random_map(NotedLoader(load, self._notes))
        parts = clips[self.next_batch * global_batch : positions].batch(
            global_batch // process_count, drop_remainder=True
        )
        batches = parts[process_index::process_count]
        # Grain's default buffer of 500 elements would hold gigabytes of clips.
        threads = 1 if num_workers else 2
        dataset = batches.to_iter_dataset(
            grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2)
        )
        if num_workers:
            dataset = dataset.mp_prefetch(
                grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2),
                worker_init_fn=set_up_worker,
            )
        self._describe = load.describe
        self._num_workers = num_workers
        self._iterator = iter(dataset)
        self._fetcher = _Fetcher(self._iterator)

    def __iter__(self) -> "ClipBatches":
        """Itself."""
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        """The next batch, with one leading axis of this host's clips (see `LoadClip`).

        Raises:
            StopIteration: The run's batches are used up.
            ReadTimeoutError: It did not come in time.
            TooManySkippedError: More clips than allowed were unreadable.
        """
        try:
            batch = dict(self._fetcher.fetch(self.read_timeout))
        except queue.Empty:
            raise self._timeout() from None
        self.next_batch += 1
        # The copies of an item are read, and fail, together.
        self._account(batch["video"][:, 0], batch["error"][:, 0])
        self.videos = batch["video"].reshape(-1)
        return {
            name: array.reshape(-1, *array.shape[2:])
            for name, array in batch.items()
            if name not in HOST_FIELDS
        }

    def state(self) -> dict[str, int]:
        """What a checkpoint keeps to resume with the batch after the last returned one."""
        return {
            "next_batch": self.next_batch,
            "skipped": self.skipped,
            "seen": self.seen,
            "num_videos": len(self._source),
        }

    def close(self) -> None:
        """Ends the worker processes.

        Grain's own close may wait for ever for the rest of a message that a worker left half
        written, so it gets a bounded time; the processes end with it or are killed.
        """
        closing = threading.Thread(target=self._iterator.close, daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)
        if closing.is_alive():
            logging.warning("data workers did not end within %d s; killing them", _CLOSE_SECONDS)
            for worker in multiprocessing.active_children():
                worker.kill()
        self._fetcher.close()
        # Grain's iterator keeps its last batch, in a reference cycle; free its shared memory.
        self._iterator = None
        gc.collect()
        self._notes.remove()

    def _timeout(self) -> ReadTimeoutError:
        reads = [
            f"{self._describe(read.item)} (for {read.seconds:.0f} s, by process {read.process})"
            for read in self._notes.under_way()
        ]
        what = f"being read: {', '.join(reads)}" if reads else "nothing is being read"
        if self._num_workers:
            running = len(multiprocessing.active_children())
            what += f"; {running} of config.data.num_workers={self._num_workers} processes run"
        return ReadTimeoutError(
            f"no batch came within config.data.read_timeout={self.read_timeout:g} seconds; {what}. "
            "Look whether these files can be read at all (a stalled network mount, a file that "
            "is locked) and whether workers were ended from outside; where reading is merely slow, "
            "raise the timeout. The run goes on from its last checkpoint."
        )

    def _account(self, videos: np.ndarray, errors: np.ndarray) -> None:
        self.seen += int(np.count_nonzero(videos >= 0))
        for video, error in zip(videos.tolist(), errors, strict=True):
            reason = error.tobytes().rstrip(b"\0").decode(errors="replace")
            if not reason:
                continue
            self.skipped += 1
            if video not in self.errors:
                self.errors[video] = reason
                logging.warning("skipped %s", reason)
        enough = min(_SKIP_GRACE, len(self._source))
        if self.seen >= enough and self.skipped > self._max_bad_fraction * self.seen:
            raise TooManySkippedError(
                f"{self.skipped} of the {self.seen} clips read so far come from videos that "
                f"cannot be read, more than config.data.max_bad_fraction="
                f"{self._max_bad_fraction}; among them: "
                + ", ".join(self._source.describe(video) for video in sorted(self.errors)[:5])
                + ". The warnings above name each with its reason: repair or remove them, or "
                "raise the share."
            )
