"""`test_shards.py` kills the parent of a pool, and its workers."""

import multiprocessing
import os
import signal
import time

import pytest

from data_prep.processes import isolated_process, process_pool


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


def test_a_call_whose_process_was_killed_is_repeated():
    with isolated_process() as call:
        os.kill(call(os.getpid), signal.SIGKILL)
        assert call(abs, -6) == 6
