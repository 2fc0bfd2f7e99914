"""The processes that read videos: their set-up, and a record of what each is reading."""

import contextlib
import ctypes
import dataclasses
import errno
import multiprocessing
import os
import re
import shutil
import signal
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

_PR_SET_PDEATHSIG = 1  # Of Linux' prctl.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # Of glibc's mallopt.
_MEBIBYTE = 2**20
_NUM_SLOTS, _SLOT = 2**16, struct.Struct("=qqd")  # process, item, time of the start


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

    Readers are worker processes or threads. Each has a slot in a file, because a reader that hangs
    cannot be asked; the file has no name, because a killed process deletes nothing. Picklable:
    workers open the file through this process.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (open while it is used)

    def __getstate__(self) -> str:
        """The path of the file, while this process lives."""
        return f"/proc/{os.getpid()}/fd/{self._file.fileno()}"

    def __setstate__(self, path: str) -> None:
        """Opens the file; where that is not possible, reads are not recorded."""
        try:
            self._file = open(path, "r+b", buffering=0)  # noqa: SIM115
        except OSError:
            self._file = open(os.devnull, "r+b", buffering=0)  # noqa: SIM115

    @contextlib.contextmanager
    def reading(self, item: int) -> Iterator[None]:
        """Marks an item as being read by this thread, until the block ends."""
        self._write(_SLOT.pack(os.getpid(), item, time.time()))
        try:
            yield
        finally:
            self._write(bytes(_SLOT.size))

    def snapshot(self) -> list[Read]:
        """The reads in progress, the longest first."""
        slots = os.pread(self._file.fileno(), _NUM_SLOTS * _SLOT.size, 0)
        reads = [
            Read(process, item, time.time() - start)
            for process, item, start in _SLOT.iter_unpack(slots)
            if process
        ]
        return sorted(reads, key=lambda read: -read.seconds)

    def remove(self) -> None:
        """Ends the records; readers may go on."""
        self._file.close()

    def _write(self, record: bytes) -> None:
        # The system numbers threads across processes.
        slot = threading.get_native_id() % _NUM_SLOTS
        with contextlib.suppress(OSError, ValueError):  # A full disk; nobody waits any more.
            os.pwrite(self._file.fileno(), record, slot * _SLOT.size)
