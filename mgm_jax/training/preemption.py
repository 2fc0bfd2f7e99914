"""Preemption: SIGTERM, SIGUSR1 or Ctrl-C ends training after a step, with its state saved.

Cloud machines and `kill` send SIGTERM; SLURM sends SIGUSR1 if `launch/slurm.sh` asks for it. All
end the program with `EXIT_CODE`, on which the scripts in `launch/` start it again.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import jax
from absl import logging
from jax.experimental import multihost_utils

EXIT_CODE = 75
"""EX_TEMPFAIL of sysexits.h: "run the same command again". Neither an error of the program nor a
fatal signal gives this code, so it also means that everything is saved."""

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Preempted(SystemExit):
    """Ends the program with `EXIT_CODE` unless it is caught; not a subclass of `Exception`."""

    def __init__(self, reason: str):
        super().__init__(EXIT_CODE)
        self.reason = reason
        logging.warning(
            "preempted: %s; exit code %d: run the same command again", reason, EXIT_CODE
        )

    def __str__(self) -> str:
        return self.reason


@contextlib.contextmanager
def exit_on_signal() -> Iterator[None]:
    """Within this context, a signal ends the program at once, since there is nothing to save.

    With several processes it changes nothing: SIGTERM waits for the next `Preemption`, and SIGUSR1
    kills the process, on which `launch/slurm.sh` starts the run again.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        raise Preempted(f"{signal.Signals(number).name} outside of training steps")

    with contextlib.nullcontext() if jax.process_count() > 1 else _handling(leave):
        yield


class Preemption:
    """Within this context, signals are noted and acted upon after a step, in all processes at once.

    Raises `Preempted` at its end if a signal came and no other exception did.
    """

    def __init__(self) -> None:
        self._reason = ""
        self._handling = contextlib.ExitStack()

    def __enter__(self) -> "Preemption":
        if jax.process_count() == 1:
            self._handling.enter_context(_handling(self._remember, (*SIGNALS, signal.SIGINT)))
        else:
            # JAX handles SIGTERM itself, and tells the other processes.
            numbers = (signal.SIGUSR1, signal.SIGINT)
            self._handling.enter_context(_handling(_send_sigterm, numbers))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._handling.close()
        if self._reason and kind is None and jax.process_count() == 1:
            raise Preempted(f"{self._reason} after the last step")

    def request(self, reason: str) -> None:
        """Stops as a signal to this process would."""
        if jax.process_count() > 1 and not self._reason:
            os.kill(os.getpid(), signal.SIGTERM)
        self._reason = reason

    def should_stop(self, step: int) -> bool:
        """Whether to save and stop after this step; every process asks after each of its steps.

        The answer is the same in all processes, and true soon after any of them gets a signal.
        """
        if jax.process_count() == 1:
            return bool(self._reason)
        return multihost_utils.reached_preemption_sync_point(step)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._reason = signal.Signals(number).name
        if number == signal.SIGINT:
            logging.warning("saving after this step; Ctrl-C again ends the program at once")
            signal.signal(number, signal.default_int_handler)


def _send_sigterm(number: int, frame: FrameType | None) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def _handling(
    handler: Callable[[int, FrameType | None], None],
    numbers: tuple[signal.Signals, ...] = SIGNALS,
) -> Iterator[None]:
    # Python runs signal handlers in the main thread only.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            # None: the handler was not installed by Python, so it cannot be restored.
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
