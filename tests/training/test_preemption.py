"""How signals are handled; tests/test_processes.py sends them to real runs."""

import signal

import jax
import pytest

from mgm_jax.training import preemption
from mgm_jax.training.preemption import Preempted, Preemption


def test_outside_of_steps_a_signal_ends_the_program_at_once():
    for number in preemption.SIGNALS:
        before = signal.getsignal(number)
        with pytest.raises(Preempted, match=number.name) as ended, preemption.exit_on_signal():
            signal.raise_signal(number)
        assert ended.value.code == preemption.EXIT_CODE
        assert signal.getsignal(number) is before


def test_within_steps_a_signal_waits_until_the_state_is_saved():
    with preemption.exit_on_signal():
        outside = signal.getsignal(signal.SIGTERM)
        with pytest.raises(Preempted, match="saved"), Preemption() as watch:  # noqa: PT012
            assert not watch.should_stop(2)
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)  # Schedulers may send several.
            assert watch.should_stop(3)
            raise Preempted("saved")
        assert signal.getsignal(signal.SIGTERM) is outside


def test_a_second_interrupt_does_not_wait():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Preemption() as watch:  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        assert watch.should_stop(3)
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_after_the_last_step_counts_unless_there_is_an_error():
    with pytest.raises(Preempted, match="SIGUSR1"), Preemption():
        signal.raise_signal(signal.SIGUSR1)
    with pytest.raises(OSError, match="disk full"), Preemption():  # noqa: PT012
        signal.raise_signal(signal.SIGTERM)
        raise OSError("disk full")


def test_with_several_processes_sigusr1_is_sigterm_which_jax_tells_the_others(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    with Preemption():
        signal.raise_signal(signal.SIGUSR1)
    signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]
