import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import shrunk
from test_train import TINY

from mgm_jax.train import train
from mgm_jax.training import preemption
from mgm_jax.training.checkpoints import Checkpoints
from mgm_jax.training.preemption import Preempted, Preemption

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def start(config_file, workdir):
    """Starts the real program in a process group of its own, as a job has one."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "mgm_jax.main"),
            *(f"--config={config_file}", f"--workdir={workdir}"),
            f"--compile_cache={jax.config.jax_compilation_cache_dir}",
        ],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_step(workdir, step, process):
    """Waits until a running program has logged a step."""
    metrics = workdir / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while not metrics.exists() or f'"step": {step},' not in metrics.read_text():
        assert process.poll() is None, process.stderr.read()[-3000:]
        assert time.monotonic() < deadline, f"step {step} has not come"
        time.sleep(0.05)


def saved_step(workdir):
    checkpoints = Checkpoints(workdir / "checkpoints", scored=False)
    checkpoints.close()
    return checkpoints.latest_step()


@pytest.fixture
def config_file(video_folder, tmp_path):
    """A shrunk recipe with far more steps than the test lets it do, and a data worker."""
    file = tmp_path / "recipe.py"
    file.write_text(
        f"import sys\nsys.path.append({str(REPOSITORY / 'tests')!r})\nimport shrunk\n"
        f"def get_config():\n    return shrunk.recipe('demo_pretrain', {str(video_folder)!r}, "
        f"**{TINY}, num_steps=1000, data__num_workers=1, checkpoint_every=1000)\n"
    )
    return file


@pytest.mark.slow
def test_a_signal_saves_ends_with_the_code_and_the_run_goes_on_exactly(
    config_file, video_folder, tmp_path
):
    workdir = tmp_path / "run"
    process = start(config_file, workdir)
    wait_for_step(workdir, 2, process)
    os.killpg(process.pid, signal.SIGTERM)  # To the data worker too, as at shutdown or by SLURM.
    _, said = process.communicate(timeout=300)
    assert process.returncode == preemption.EXIT_CODE, said[-3000:]
    step = saved_step(workdir)
    assert step >= 2
    assert f"step {step} is saved; exit code 75" in said

    config = shrunk.recipe("demo_pretrain", video_folder, **TINY, num_steps=1000)
    config.stop_at_step = step + 1
    resumed = train(config, str(workdir))
    whole = train(config, str(tmp_path / "whole"))
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(resumed), jax.device_get(whole))
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, step + 2))


def test_outside_of_steps_a_signal_ends_the_program_at_once():
    for number in preemption.SIGNALS:
        before = signal.getsignal(number)
        with pytest.raises(Preempted, match=number.name) as ended, preemption.exit_on_signal():
            signal.raise_signal(number)
        assert ended.value.code == preemption.EXIT_CODE
        assert signal.getsignal(number) is before


def test_within_steps_a_signal_waits_until_the_state_is_saved():
    with preemption.exit_on_signal():
        outside = signal.getsignal(signal.SIGTERM)
        with pytest.raises(Preempted, match="saved"), Preemption() as watch:  # noqa: PT012
            assert not watch.should_stop(2)
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)  # Schedulers may send several.
            assert watch.should_stop(3)
            raise Preempted("saved")
        assert signal.getsignal(signal.SIGTERM) is outside


def test_a_signal_after_the_last_step_is_not_forgotten():
    with pytest.raises(Preempted, match="SIGUSR1"), Preemption():
        signal.raise_signal(signal.SIGUSR1)


def test_an_error_takes_precedence_over_a_signal():
    with pytest.raises(OSError, match="disk full"), Preemption():  # noqa: PT012
        signal.raise_signal(signal.SIGTERM)
        raise OSError("disk full")
