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


@contextlib.contextmanager
def isolated_process() -> Iterator[Callable[..., Any]]:
    """Yields a function that calls others in a child process, which is replaced if it crashes.

    Arguments and results are pickled. BrokenProcessPool is raised if a call ended its process, and
    so did a second attempt.
    """
    pool = _new_pool(1)

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        nonlocal pool
        for attempt in range(2):
            try:
                return pool.submit(function, *arguments).result()
            except BrokenProcessPool:
                pool.shutdown()
                pool = _new_pool(1)
                # The first time the machine may have run out of memory.
                if attempt:
                    raise

    try:
        yield call
    finally:
        pool.shutdown()
