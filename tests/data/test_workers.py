import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from mgm_jax.data.workers import ReadsInProgress


@pytest.fixture
def reads():
    reads = ReadsInProgress()
    yield reads
    reads.remove()


def test_reads_in_progress_are_listed_longest_first(reads):
    go = threading.Event()

    def read():
        with reads.reading(7):
            go.wait()

    thread = threading.Thread(target=read)
    thread.start()
    while not reads.snapshot():
        time.sleep(0.01)
    time.sleep(0.05)
    with reads.reading(3):
        assert [one.item for one in reads.snapshot()] == [7, 3]
        assert reads.snapshot()[0].seconds >= 0.05
    go.set()
    thread.join()
    assert reads.snapshot() == []


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


HELD_AFTER_CLIPS = """
import resource, sys
from mgm_jax.data.workers import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()

def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

before = resident_bytes()
for _ in range(2):
    clip = [b"x" * 20_000_000 for _ in range(3)]
    del clip
print(resident_bytes() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_freed_memory_is_kept_for_the_next_clip():
    def held(what):
        command = [sys.executable, "-c", HELD_AFTER_CLIPS, what]
        # launch/environment.sh sets the allocator for training; here it is to be as it is anywhere.
        env = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
        return int(subprocess.run(command, check=True, capture_output=True, env=env).stdout)

    assert held("give back") < 40_000_000 < 59_000_000 < held("keep") < 80_000_000
