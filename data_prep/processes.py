"""Worker processes: a pool that ends with its parent, and a process whose crash is survived."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any


def _new_pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)


def _start_worker() -> None:
    """Without this a worker waits for work forever if its parent is killed."""

    def exit_with_parent() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=exit_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # On Ctrl-C the parent kills its workers.


@contextlib.contextmanager
def process_pool(workers: int) -> Iterator[concurrent.futures.Executor]:
    """A process pool whose workers are killed if the block raises, or if this process dies."""
    others = set(multiprocessing.active_children())
    pool = _new_pool(workers)
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


class IsolatedProcess:
    """Calls functions in a child process, which is replaced if a call crashes it."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "IsolatedProcess":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The result of the function; its arguments and its result are pickled.

        Raises:
            BrokenProcessPool: The call ended its process, and so did a second attempt.
        """
        for attempt in range(2):
            if self._pool is None:
                self._pool = _new_pool(1)
            try:
                return self._pool.submit(function, *arguments).result()
            except BrokenProcessPool:
                self._pool.shutdown()
                self._pool = None
                # The first time the machine may have run out of memory.
                if attempt:
                    raise
