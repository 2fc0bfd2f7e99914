import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from mgm_jax.data.workers import ReadsInProgress


@pytest.fixture
def reads():
    reads = ReadsInProgress()
    yield reads
    reads.remove()


def test_reads_may_fail_and_go_on_after_nobody_waits_for_them(reads):
    with pytest.raises(OSError, match="gone"), reads.reading(1):
        raise OSError("gone")
    assert reads.snapshot() == []
    with reads.reading(1):
        reads.remove()
    with reads.reading(2):
        pass


def hang(reads):
    with reads.reading(5):
        os.kill(os.getpid(), signal.SIGSTOP)


def test_a_worker_that_hangs_is_named_and_killed_processes_leave_no_file(reads, tmp_path):
    worker = multiprocessing.get_context("spawn").Process(target=hang, args=(reads,))
    worker.start()
    while not reads.snapshot():
        time.sleep(0.01)
    assert [(one.process, one.item) for one in reads.snapshot()] == [(worker.pid, 5)]
    worker.kill()
    worker.join()
    code = "import tests.data.test_workers as t; t.hang(t.ReadsInProgress())"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    os.waitpid(process.pid, os.WUNTRACED)
    process.kill()
    process.wait()
    assert not list(tmp_path.iterdir())
