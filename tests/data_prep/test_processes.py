"""`test_shards.py` kills the parent of a pool."""

import multiprocessing
import os
import signal
import time
from concurrent.futures.process import BrokenProcessPool

import pytest

from data_prep.processes import IsolatedProcess, process_pool


def test_errors_end_the_pool_at_once():
    before = set(multiprocessing.active_children())
    start = time.monotonic()

    def run():
        with process_pool(2) as pool:
            pool.submit(time.sleep, 600)
            pool.submit(int, "x").result()

    with pytest.raises(ValueError, match="invalid literal"):
        run()
    assert time.monotonic() - start < 120
    assert set(multiprocessing.active_children()) <= before


def test_a_crash_costs_only_its_call():
    with IsolatedProcess() as process:
        assert process.call(abs, -4) == 4
        child = process.call(os.getpid)
        with pytest.raises(BrokenProcessPool):
            process.call(os._exit, 3)
        assert process.call(abs, -5) == 5
        assert process.call(os.getpid) != child
        with pytest.raises(ValueError, match="invalid literal"):
            process.call(int, "x")
        os.kill(process.call(os.getpid), signal.SIGKILL)
        assert process.call(abs, -6) == 6  # The second attempt.
