import subprocess
import sys

import pytest

FAULTS_OF_CLIPS = """
import resource, sys
from mgm_jax.data.worker_process import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()

def read_clip():
    return [b"x" * 20_000_000 for _ in range(3)]

for _ in range(3):
    read_clip()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    read_clip()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_freed_memory_is_used_again():
    def faults(what):
        command = [sys.executable, "-c", FAULTS_OF_CLIPS, what]
        return int(subprocess.run(command, check=True, capture_output=True).stdout)

    assert faults("keep") < 100
    assert faults("give back") > 1000
