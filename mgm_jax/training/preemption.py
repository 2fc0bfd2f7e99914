"""Being asked to leave: SIGTERM or SIGUSR1 ends training after a step, with its state saved.

Cloud machines and `kill` send SIGTERM, SLURM SIGUSR1 where `launch/slurm.sh` asks for it. Either
ends the program with `EXIT_CODE`, on which the scripts of `launch/` start it again.
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
"""EX_TEMPFAIL of sysexits.h: run the same command again (decision). No error of the program and no
death by a signal ends with it, so it says that everything is saved."""

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Preempted(SystemExit):
    """Ends the program with `EXIT_CODE`, if nothing catches it; it is no `Exception`."""

    def __init__(self, reason: str):
        super().__init__(EXIT_CODE)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


@contextlib.contextmanager
def exit_on_signal() -> Iterator[None]:
    """Within, a signal ends the program at once, for there is nothing to save.

    With several processes signals wait for the next `Preemption` instead: who leaves alone would
    take the others down.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        raise _preempted(f"{signal.Signals(number).name} outside of training steps")

    with contextlib.nullcontext() if jax.process_count() > 1 else _handling(leave):
        yield


class Preemption:
    """Within, signals are remembered until a step at which all processes can leave.

    Ending without an exception raises `Preempted` where a signal came too late for `reached`.
    """

    def __init__(self) -> None:
        self._signal: signal.Signals | None = None
        self._handling = contextlib.ExitStack()

    def __enter__(self) -> "Preemption":
        if jax.process_count() == 1:
            self._handling.enter_context(_handling(self._remember))
        else:
            # JAX listens to SIGTERM itself, and tells the other processes.
            self._handling.enter_context(_handling(_pass_on, (signal.SIGUSR1,)))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._handling.close()
        if self._signal is not None and kind is None:
            raise _preempted(f"{self._signal.name} after the last step")

    def reached(self, step: int) -> bool:
        """Whether to save and leave after this step; the same in all processes.

        Args:
            step: The step; every process asks after each of its steps.

        Returns:
            True in every process at the same step, soon after any of them received a signal.
        """
        if jax.process_count() == 1:
            return self._signal is not None
        return multihost_utils.reached_preemption_sync_point(step)

    def leave(self, step: int) -> None:
        """Ends the program, the state being saved.

        Raises:
            Preempted: Always.
        """
        raise _preempted(f"step {step} is saved")

    def _remember(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._signal = signal.Signals(number)


def _preempted(reason: str) -> Preempted:
    logging.warning("asked to leave: %s; exit code %d: run the same again", reason, EXIT_CODE)
    return Preempted(reason)


def _pass_on(number: int, frame: FrameType | None) -> None:
    del number, frame
    os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def _handling(
    handler: Callable[[int, FrameType | None], None],
    numbers: tuple[signal.Signals, ...] = SIGNALS,
) -> Iterator[None]:
    # Python hears signals in the main thread alone.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            # None: the handler was not Python's, and cannot be put back.
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
