"""Which items are being read, so that a read that never ends can be named.

Readers are worker processes, or threads of the training process. Each notes what it reads in a file
of its own, because a reader that hangs can no longer be asked.
"""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator

import grain
import numpy as np

from mgm_jax.data.clips import ClipLoader


@dataclasses.dataclass(frozen=True)
class Read:
    """A read under way.

    Attributes:
        process: Id of the process that reads.
        item: Item of the loader.
        seconds: Since when.
    """

    process: int
    item: int
    seconds: float


class ReadNotes:
    """A folder of notes, one file for each read under way; its path travels to the workers."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="mgm_reads_")

    @contextlib.contextmanager
    def reading(self, item: int) -> Iterator[None]:
        """Notes that this thread reads an item, until the block ends."""
        note = os.path.join(self._folder, f"{os.getpid()}-{threading.get_ident()}-{item}")
        # A folder that is gone means that nobody waits any more.
        with contextlib.suppress(FileNotFoundError):
            os.close(os.open(note, os.O_CREAT | os.O_WRONLY, 0o600))
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(note)

    def under_way(self) -> list[Read]:
        """The reads that have begun and not ended, the longest first."""
        reads = []
        for note in pathlib.Path(self._folder).iterdir():
            process, _, item = map(int, note.name.split("-"))
            with contextlib.suppress(FileNotFoundError):  # It has just ended.
                reads.append(Read(process, item, time.time() - note.stat().st_mtime))
        return sorted(reads, key=lambda read: -read.seconds)

    def remove(self) -> None:
        """Deletes the folder."""
        # Renamed first: a reader that is still at work can then put nothing into it.
        gone = self._folder + "_gone"
        with contextlib.suppress(FileNotFoundError):
            os.rename(self._folder, gone)
        shutil.rmtree(gone, ignore_errors=True)


@dataclasses.dataclass(frozen=True)
class NotedLoader(grain.transforms.RandomMap):
    """A loader that notes what it reads.

    Attributes:
        load: The loader.
        notes: Where to.
    """

    load: ClipLoader
    notes: ReadNotes

    def random_map(
        self, element: tuple[int, int], rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """As the loader's."""
        with self.notes.reading(element[1]):
            return self.load.random_map(element, rng)
