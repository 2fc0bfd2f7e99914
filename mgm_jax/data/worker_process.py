"""What a process that reads videos for training is set to."""

import ctypes
import multiprocessing
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
# Of glibc's mallopt.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MEBIBYTE = 2**20


def set_up_worker(worker_index: int, worker_count: int) -> None:
    """Prepares a worker process of Grain.

    Args:
        worker_index: Of this worker; workers do not differ.
        worker_count: Of the host.
    """
    del worker_index, worker_count
    die_with_parent()
    keep_freed_memory()


def die_with_parent() -> None:
    """Ends this process when the training process ends, and not before.

    Signals to stop often go to all processes of a job; training needs batches until it has saved.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # It may have died while this worker was starting; then there is no signal to come.
        if os.getppid() != multiprocessing.parent_process().pid:
            os._exit(1)


def keep_freed_memory() -> bool:
    """Lets this process keep the memory that it frees, to use it again for the next clip.

    By default glibc gives the memory of large records and planes back to the system, which clears
    it before it hands it out anew: milliseconds per clip. At most 128 MiB per arena are kept.

    Returns:
        Whether the C library can be told so; others than glibc go on as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    # 32 MiB is the most that glibc takes as the size from which memory is mapped.
    return bool(
        mallopt(_M_MMAP_THRESHOLD, 32 * _MEBIBYTE) and mallopt(_M_TRIM_THRESHOLD, 128 * _MEBIBYTE)
    )
