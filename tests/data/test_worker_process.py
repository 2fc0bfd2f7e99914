import os
import subprocess
import sys

import pytest

HELD_AFTER_CLIPS = """
import resource, sys
from mgm_jax.data.worker_process import keep_freed_memory
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
