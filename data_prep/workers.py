"""Worker processes for tasks of which some may take their process with them.

A damaged video can crash a decoder. `concurrent.futures` then gives up the whole pool without
telling which task it was; here the task is known, and the others go on.
"""

import collections
import contextlib
import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import traceback
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Died:
    """In the place of a result: the process of the task ended.

    Attributes:
        exit_code: Of the process; the negative number of the signal that killed it.
    """

    exit_code: int | None

    def describe(self) -> str:
        """A phrase."""
        if self.exit_code is not None and self.exit_code < 0:
            return f"killed by {signal.Signals(-self.exit_code).name}"
        return f"exit code {self.exit_code}"


class _Worker:
    def __init__(self, context: multiprocessing.context.SpawnContext) -> None:
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_work, args=(other,), daemon=True)
        self.process.start()
        other.close()
        self.task: Any = None


class Workers:
    """Processes that run one task at a time each; a context manager.

    Args:
        count: Of processes; 0 runs tasks in this process, when they are submitted.
    """

    def __init__(self, count: int) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._idle = [_Worker(self._context) for _ in range(count)]
        self._busy: list[_Worker] = []
        self._in_process = count == 0
        self._finished: collections.deque[tuple[Any, Any]] = collections.deque()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._idle + self._busy:
            worker.process.kill()
            worker.process.join()
            worker.connection.close()

    @property
    def has_room(self) -> bool:
        """Whether a further task would start now."""
        return not self._finished if self._in_process else bool(self._idle)

    @property
    def is_busy(self) -> bool:
        """Whether there are results to come."""
        return bool(self._finished or self._busy)

    def submit(self, task: Any, function: Callable[..., Any], *arguments: Any) -> None:
        """Starts a task; only where `has_room`.

        Args:
            task: Comes back with the result.
            function: At the top of a module.
            arguments: That can be pickled.
        """
        if self._in_process:
            self._finished.append((task, function(*arguments)))
            return
        worker = self._idle.pop()
        worker.task = task
        self._busy.append(worker)
        with contextlib.suppress(OSError):  # it died idle; `wait` finds out
            worker.connection.send((function, arguments))

    def wait(self) -> tuple[Any, Any]:
        """Waits for a task to end; only where `is_busy`.

        Returns:
            The task and its result, or `Died`.

        Raises:
            Exception: What the function raised.
        """
        if self._finished:
            return self._finished.popleft()
        ready = multiprocessing.connection.wait([worker.connection for worker in self._busy])
        worker = next(worker for worker in self._busy if worker.connection in ready)
        self._busy.remove(worker)
        try:
            error, result = worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join()
            worker.connection.close()
            self._idle.append(_Worker(self._context))
            return worker.task, Died(worker.process.exitcode)
        self._idle.append(worker)
        if error is not None:
            raise error
        return worker.task, result


def leave_with_parent() -> None:
    """Ends this process when its parent is killed; it would wait for work for ever."""

    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _work(connection: multiprocessing.connection.Connection) -> None:
    leave_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process ends its workers
    while True:
        try:
            function, arguments = connection.recv()
        except EOFError:
            return
        try:
            outcome = None, function(*arguments)
        except Exception as error:
            error.add_note(f"In a worker process:\n{traceback.format_exc()}")
            outcome = error, None
        connection.send(outcome)
