import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures.process import BrokenProcessPool

import pytest

from data_prep.processes import IsolatedProcess, process_pool

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


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


@pytest.mark.skipif(not pathlib.Path("/proc/self/task").exists(), reason="reads Linux's /proc")
def test_workers_end_with_a_killed_parent():
    code = """
        import os, time
        from data_prep.processes import process_pool
        if __name__ == "__main__":
            with process_pool(1) as pool:
                print(pool.submit(os.getpid).result(), flush=True)
                pool.submit(time.sleep, 600).result()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        worker = int(process.stdout.readline())
        process.kill()
        process.wait()
    deadline = time.monotonic() + 60
    while pathlib.Path(f"/proc/{worker}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
