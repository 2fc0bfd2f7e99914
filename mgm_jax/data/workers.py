"""The processes that read videos: their set-up, and a record of what each is reading."""

import contextlib
import ctypes
import dataclasses
import errno
import multiprocessing
import os
import pathlib
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

_PR_SET_PDEATHSIG = 1  # Of Linux' prctl.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # Of glibc's mallopt.
_MEBIBYTE = 2**20


def set_up_worker(worker_index: int, worker_count: int) -> None:
    """Prepares a worker process of Grain: it ends with the training process and keeps its memory.

    Signals to stop often go to all processes of a job; the workers ignore them, because training
    needs batches until it has saved a checkpoint.
    """
    del worker_index, worker_count
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # If the parent died while this worker started, no signal will come.
        parent = multiprocessing.parent_process()
        if parent is not None and os.getppid() != parent.pid:
            os._exit(1)
    keep_freed_memory()


def death_of_worker(error: Exception) -> str | None:
    """What a worker process of Grain died of and what helps; None if `error` is not of its death.

    Grain's message has the exit code. Memory that `/dev/shm` has no room for is a bus error.
    """
    found = re.search(r"terminated unexpectedly with exit code (-?\d+)", str(error))
    no_room = isinstance(error, OSError) and error.errno == errno.ENOSPC
    if no_room or (found and int(found[1]) == -signal.SIGBUS):
        room = shutil.disk_usage("/dev/shm")
        return (
            f"a data worker died: /dev/shm, where batches are passed on, is full ({room.free >> 20}"
            f" of {room.total >> 20} MiB are free). Enlarge it (docker run --shm-size=8g; mount -o "
            "remount,size=8g /dev/shm), or set config.data.num_workers=0"
        )
    if isinstance(error, MemoryError) or (found and int(found[1]) == -signal.SIGKILL):
        return (
            "a data worker was killed, or got no memory: the system kills processes when memory "
            "runs out (dmesg names them). Give the job more, or lower config.data.num_workers"
        )
    return found and f"a data worker died with exit code {found[1]}; its messages are above"


def keep_freed_memory() -> bool:
    """Makes glibc keep freed memory for the next clip instead of returning it to the system.

    The system clears memory before it hands it out again, which costs milliseconds per clip. At
    most 128 MiB per arena are kept. Returns whether it took effect; only glibc is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    # 32 MiB is the largest threshold that glibc accepts.
    return bool(
        mallopt(_M_MMAP_THRESHOLD, 32 * _MEBIBYTE) and mallopt(_M_TRIM_THRESHOLD, 128 * _MEBIBYTE)
    )


@dataclasses.dataclass(frozen=True)
class Read:
    """A read in progress: which process reads which item of the loader, and for how long."""

    process: int
    item: int
    seconds: float


class ReadsInProgress:
    """Records which items are being read, so that a read that hangs can be named.

    Readers are worker processes or threads. Each read is an empty file in a temporary folder,
    because a reader that hangs cannot be asked. Picklable: workers get the folder's path.
    """

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="mgm_reads_")

    @contextlib.contextmanager
    def reading(self, item: int) -> Iterator[None]:
        """Marks an item as being read by this thread, until the block ends."""
        note = os.path.join(self._folder, f"{os.getpid()}-{threading.get_ident()}-{item}")
        # The folder is missing once nobody waits for the read any more.
        with contextlib.suppress(FileNotFoundError):
            os.close(os.open(note, os.O_CREAT | os.O_WRONLY, 0o600))
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(note)

    def snapshot(self) -> list[Read]:
        """The reads in progress, the longest first."""
        reads = []
        for note in pathlib.Path(self._folder).iterdir():
            process, _, item = map(int, note.name.split("-"))
            with contextlib.suppress(FileNotFoundError):  # It has just ended.
                reads.append(Read(process, item, time.time() - note.stat().st_mtime))
        return sorted(reads, key=lambda read: -read.seconds)

    def remove(self) -> None:
        """Deletes the folder."""
        # Renamed first, so that a reader that is still running cannot add files to it.
        renamed = self._folder + "_gone"
        with contextlib.suppress(FileNotFoundError):
            os.rename(self._folder, renamed)
        shutil.rmtree(renamed, ignore_errors=True)
