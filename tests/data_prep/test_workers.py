import os
import signal
import time

import pytest

from data_prep.workers import Died, Workers


def double(number):
    return 2 * number


def fail(number):
    raise ValueError(f"no {number}")


def end(how):
    if how == "signal":
        os.kill(os.getpid(), signal.SIGSEGV)
    os._exit(3)


def process_id():
    time.sleep(0.05)
    return os.getpid()


@pytest.mark.parametrize("count", [0, 2])
def test_results_come_with_their_tasks(count):
    results = {}
    to_do = list(range(7))
    with Workers(count) as pool:
        while True:
            while pool.has_room and to_do:
                number = to_do.pop()
                pool.submit(number, double, number)
            if not pool.is_busy:
                break
            task, result = pool.wait()
            results[task] = result
    assert results == {number: 2 * number for number in range(7)}


@pytest.mark.parametrize("count", [0, 1])
def test_errors_come_through(count):
    def run():
        with Workers(count) as pool:
            pool.submit("task", fail, 5)
            pool.wait()

    with pytest.raises(ValueError, match="no 5"):
        run()


def test_a_process_that_ends_is_known_and_replaced():
    with Workers(1) as pool:
        for how, expected in (("signal", "killed by SIGSEGV"), ("exit", "exit code 3")):
            pool.submit(how, end, how)
            task, result = pool.wait()
            assert task == how
            assert isinstance(result, Died)
            assert result.describe() == expected
            pool.submit("after", double, 4)
            assert pool.wait() == ("after", 8)


def test_no_process_is_left():
    with Workers(2) as pool:
        for _ in range(2):
            pool.submit(None, process_id)
        ids = {pool.wait()[1] for _ in range(2)}
    assert len(ids) == 2
    for number in ids:
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)
