"""Several real processes make one run, through jax.distributed on this machine."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import shrunk

from mgm_jax import preemption
from mgm_jax.train import train

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Job:
    """Processes of `mgm_jax.main`, each with its share of four devices."""

    def __init__(self, config_file, workdir, processes, *arguments, **config):
        self.workdir, port = workdir, free_port()
        flags = f"--xla_force_host_platform_device_count={4 // processes}"
        self.processes = []
        for number in range(processes):
            together = (
                f"--coordinator_address=127.0.0.1:{port}",
                f"--num_processes={processes}",
                f"--process_id={number}",
            )
            self.processes.append(
                subprocess.Popen(
                    [
                        *(sys.executable, "-m", "mgm_jax.main", "--compile_cache="),
                        *(f"--config={config_file}", f"--workdir={workdir}", *arguments),
                        *(f"--config.{name}={value}" for name, value in config.items()),
                        *(together if processes > 1 else ()),
                    ],
                    cwd=REPOSITORY,
                    env=os.environ | {"XLA_FLAGS": flags},
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )

    def wait_for_step(self, step):
        metrics = self.workdir / "metrics.jsonl"
        deadline = time.monotonic() + 120
        while not metrics.exists() or f'"step": {step},' not in metrics.read_text():
            assert all(process.poll() is None for process in self.processes), self.end()
            assert time.monotonic() < deadline, f"step {step} has not come"
            time.sleep(0.05)

    def end(self):
        """Exit codes, and what the processes said."""
        said = [process.communicate(timeout=120)[1] for process in self.processes]
        return [process.returncode for process in self.processes], said


SMALL = {"model__encoder__dim": 32, "model__encoder__depth": 1, "model__encoder__heads": 2}


@pytest.fixture
def config_file(video_folder, tmp_path):
    """A shrunk recipe as a config file; its argument names the recipe."""
    file = tmp_path / "recipe.py"
    file.write_text(
        f"import sys\nsys.path.append({str(REPOSITORY / 'tests')!r})\nimport shrunk\n"
        f"def get_config(name):\n    return shrunk.recipe(name, {str(video_folder)!r}, **{SMALL})\n"
    )
    return file


def logged(workdir, name):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line[name]) for line in lines if name in line]


def test_two_processes_train_and_save_as_one_and_one_goes_on(config_file, video_folder, tmp_path):
    mesh = {"mesh.data": 2, "mesh.fsdp": 2}
    steps = {"num_steps": 3}
    job = Job(f"{config_file}:demo_pretrain", tmp_path / "two", 2, stop_at_step=2, **steps, **mesh)
    codes, said = job.end()
    assert codes == [0, 0], said

    config = shrunk.recipe("demo_pretrain", video_folder, **SMALL, **steps)
    train(config, str(tmp_path / "one"), jax.devices()[:4])
    train(config, str(tmp_path / "two"), jax.devices()[:2])  # Another mesh, and one process.
    one, two = (logged(tmp_path / name, "loss") for name in ("one", "two"))
    assert [step for step, _ in two] == [1, 2, 3]
    np.testing.assert_allclose(one, two, rtol=2e-5)


def test_two_processes_finetune_and_evaluate_as_one(config_file, video_folder, tmp_path):
    evaluation = {"eval.split": "train"}
    job = Job(f"{config_file}:demo_finetune", tmp_path / "two", 2, **evaluation)
    codes, said = job.end()
    assert codes == [0, 0], said

    config = shrunk.recipe("demo_finetune", video_folder, **SMALL, eval__split="train")
    train(config, str(tmp_path / "one"), jax.devices()[:4])
    for name in ("loss", "train_top1", "eval/top1"):
        one, two = (logged(tmp_path / run, name) for run in ("one", "two"))
        np.testing.assert_allclose(one, two, rtol=1e-4)
    one, two = ((tmp_path / run / "evaluation.json").read_text() for run in ("one", "two"))
    assert json.loads(one)["top1"] == json.loads(two)["top1"]


def test_a_signal_to_one_stops_all_after_the_same_step(config_file, tmp_path):
    job = Job(f"{config_file}:demo_pretrain", tmp_path / "run", 2, num_steps=5000)
    job.wait_for_step(2)
    job.processes[1].send_signal(signal.SIGUSR1)
    codes, said = job.end()
    assert codes == [preemption.EXIT_CODE] * 2, said
    (saved,) = (file.name for file in (tmp_path / "run" / "checkpoints").iterdir())
    assert all(f"step {saved} is saved" in text for text in said)
