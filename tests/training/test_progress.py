import os
import pathlib
import pty
import subprocess
import sys
import termios

import pytest

from mgm_jax.training import progress

PROGRAM = """
from absl import logging
from mgm_jax.program import run_program
from mgm_jax.training.progress import Progress, Throughput

def main(_):
    logging.info("before")
    bar = Progress(Throughput(batch_size=8), done=2, last=4)
    values = {"train/loss": 0.5, "train/learning_rate": 1e-3, "train/epoch": 1.5}
    values["data/skipped_clips"] = 0
    for step in (3, 4):
        bar.advance()
        bar.show(step, values)
        logging.info("step %d is done", step)
        values |= {"train/clips_per_second": 2.0, "data/wait": 0.25}
    bar.close()
    logging.info("after")

run_program(main)
"""


def test_rates_leave_out_the_first_step_and_count_from_the_last_report(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    throughput = progress.Throughput(batch_size=8)
    now[0] += 60  # Compiles.
    assert throughput.report(steps=1) == {}
    with throughput.waiting():
        now[0] += 1
    with throughput.pausing():
        now[0] += 7  # Evaluates.
    now[0] += 3
    assert throughput.report(steps=10) == {"train/clips_per_second": 20.0, "data/wait": 0.25}
    assert throughput.seconds_for(20, 20.0) == 8
    now[0] += 2
    assert throughput.report(steps=1)["data/wait"] == 0


@pytest.mark.parametrize("terminal", [False, True])
def test_a_terminal_shows_a_bar_below_the_log_and_a_file_gets_lines(terminal):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    ended = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=pathlib.Path(__file__).resolve().parents[2],
        env=os.environ | {"TERM": "xterm"},
        stderr=theirs if terminal else subprocess.PIPE,
        text=True,
    )
    if not terminal:
        said = ended.communicate(timeout=120)[1]
        lines = [line.partition("] ")[2] for line in said.splitlines()]
        first, second = (line for line in lines if line.startswith("step ") and "loss" in line)
        assert first == "step 3/4  epoch 1.5  loss 0.5000  lr 1.00e-03"
        assert second == f"{first.replace('3/4', '4/4')}  2.0 clips/s  waiting 25%  ETA 0:00:00"
        return
    assert ended.wait(timeout=120) == 0
    said = os.read(ours, 100_000).decode()
    assert "step 3/4  75%|" in said
    assert "loss 0.5000  lr 1.00e-03  2.0 clips/s  waiting 25%  ETA 0:00:00" in said
    shown = [line.rpartition("\r")[2] for line in said.split("\r\n")]
    for text in ("before", "step 3 is done", "step 4 is done", "after"):
        assert any(line.endswith(f"] {text}") for line in shown), shown
    assert sum("100%|" in line for line in shown) == 1
