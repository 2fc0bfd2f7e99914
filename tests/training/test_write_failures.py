"""Each call that writes a checkpoint or metrics fails once: a named error, older state intact."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

TESTS = pathlib.Path(__file__).resolve().parents[1]
PROGRAM = """
import collections, contextlib, ctypes, errno, itertools, pathlib, sys, time
from mgm_jax.errors import MgmError
from mgm_jax.training import integrity, metrics, runs
from mgm_jax.training.checkpoints import Checkpoints
from tests.training.test_checkpoints import CONFIG, DATA, STATE

library, run = ctypes.CDLL(None), pathlib.Path(sys.argv[1])
library.failed.restype = ctypes.c_char_p
CURES = {"ENOSPC": "Free space", "EROFS": "read-only", "EIO": "disk or the network"}
saved, calls = [], collections.Counter()

def save(step):
    runs.describe_run(run, CONFIG, ("a", "b"))
    with contextlib.ExitStack() as closing:
        writer = metrics.Writer(run, CONFIG, from_step=saved[-1] if saved else 0)
        closing.callback(writer.close)
        writer.write(step, {"train/loss": 1.0})
        writer.flush()
        checkpoints = Checkpoints(run / "checkpoints")
        closing.callback(checkpoints.close)
        checkpoints.save(step, STATE, DATA, CONFIG, 0.5)

def recover():
    while True:  # Until the threads of a failed save, which end with a process, are done.
        try:
            return integrity.recover(run / "checkpoints")
        except OSError:
            time.sleep(0.02)

for call in itertools.count():
    number = list(CURES)[call % 3]
    library.fail_at(str(run).encode(), ctypes.c_long(call), getattr(errno, number))
    message = ""
    try:
        save(call + 1)
    except MgmError as error:
        message = str(error)
    failed, what = library.failed().decode(), (call, number, message)
    calls[failed] += 1
    # TensorStore keeps some causes to itself.
    assert not message or CURES[number] in message or "says why" in message, what
    recover()
    found = integrity.complete_steps(run / "checkpoints")[0]
    assert integrity.find_damage(run / "checkpoints", found) is None, what
    # Some failures lose nothing, such as that of making a folder that exists.
    if not message:
        saved.append(call + 1)
    assert found in (saved[-1], call + 1), what
    if found != saved[-1]:
        saved.append(found)
    steps = [line["step"] for line in metrics.read_lines(run / "metrics.jsonl")]
    assert steps[:len(saved)] == saved, (what, steps)
    assert runs.read_config(run).task == CONFIG.task
    if call and not failed:
        break
print(dict(calls))
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("cc") or sys.platform != "linux", reason="needs a C compiler")
def test_every_failed_write_is_named_and_leaves_the_older_state(tmp_path):
    library = tmp_path / "failing_writes.so"
    source = TESTS / "failing_writes.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "run"],
        cwd=TESTS.parent,
        env=os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    for call in ("open", "write", "mkdir", "rename", "fsync"):
        assert repr(call) in ended.stdout
