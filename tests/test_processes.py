"""Real processes, one or several, make one run, through jax.distributed on this machine."""

import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import psutil
import pytest
import random_weights
import shrunk
from quick_compilation import XLA_FLAGS
from shrunk import assert_same_state, logged
from test_train import ENCODER, TINY

from mgm_jax.errors import ConfigError
from mgm_jax.train import train
from mgm_jax.training import preemption
from mgm_jax.training.integrity import complete_steps
from mgm_jax.training.runs import load_run
from tests.data.test_loader import worker_of

pytestmark = pytest.mark.slow

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Job:
    """Processes of `mgm_jax.main`, each with its share of four devices."""

    def __init__(self, config_file, workdir, processes, *arguments, of_last=(), homes=(), **config):
        """`of_last` are further arguments of the last process, `homes` the home folder of each."""
        self.workdir, port = workdir, free_port()
        flags = f"--xla_force_host_platform_device_count={4 // processes} {XLA_FLAGS}"
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
                        *(of_last if number == processes - 1 else ()),
                    ],
                    cwd=REPOSITORY,
                    env=os.environ
                    | {"XLA_FLAGS": flags}
                    | ({"HOME": str(homes[number])} if homes else {}),
                    stderr=subprocess.PIPE,
                    text=True,
                    start_new_session=True,
                )
            )

    def wait_until(self, happened):
        deadline = time.monotonic() + 300
        while not happened():
            assert all(process.poll() is None for process in self.processes), self.end()
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def wait_for_step(self, step):
        metrics = self.workdir / "metrics.jsonl"
        self.wait_until(lambda: metrics.exists() and f'"step": {step},' in metrics.read_text())

    def end(self):
        """Exit codes, and what the processes said."""
        said = [process.communicate(timeout=300)[1] for process in self.processes]
        return [process.returncode for process in self.processes], said


@pytest.fixture
def config_file(video_folder, tmp_path):
    """A shrunk recipe as a config file; its argument names the recipe."""
    file = tmp_path / "recipe.py"
    file.write_text(
        f"import sys\nsys.path.append({str(REPOSITORY / 'tests')!r})\nimport shrunk\n"
        "def get_config(name):\n"
        f"    values = {ENCODER} if name == 'demo_finetune' else {TINY}\n"
        f"    return shrunk.recipe(name, {str(video_folder)!r}, **values)\n"
    )
    return file


def series(workdir, name):
    return [(line["step"], line[name]) for line in logged(workdir) if name in line]


def assert_same_run(one, other, *names):
    for name in names:
        np.testing.assert_allclose(series(one, name), series(other, name), rtol=1e-4)


def test_a_run_that_is_killed_and_then_preempted_equals_an_undisturbed_one(
    config_file, video_folder, tmp_path
):
    run, name = tmp_path / "run", f"{config_file}:demo_pretrain"
    options = {"num_steps": 1000, "data.num_workers": 1}
    job = Job(name, run, 1, **options, checkpoint_every=2)
    job.wait_for_step(5)  # Then the save of step 2 is complete.
    job.wait_until(lambda: any((run / "checkpoints").glob("*.orbax-checkpoint-tmp")))
    job.processes[0].kill()
    job.end()  # Waits for the data worker too, which must end by itself.
    complete, last = complete_steps(run / "checkpoints")[0], logged(run)[-1]["step"]

    job = Job(name, run, 1, **options, checkpoint_every=1000)
    job.wait_for_step(last + 1)
    config = shrunk.recipe("demo_pretrain", video_folder, **TINY, num_steps=1000)
    with pytest.raises(ConfigError, match=rf"process {job.processes[0].pid} on .* since "):
        train(config, str(run))  # The run is locked.
    os.killpg(job.processes[0].pid, signal.SIGTERM)  # To the data worker too, as SLURM does.
    codes, said = job.end()
    assert codes == [preemption.EXIT_CODE], said
    saved = complete_steps(run / "checkpoints")[0]
    assert f"resuming from the checkpoint of step {complete}" in said[0]
    assert f"step {saved} is saved; exit code 75" in said[0]

    config.stop_at_step = saved + 1
    states = [train(config, str(tmp_path / name), jax.devices()[:4]) for name in ("run", "whole")]
    assert_same_state(*states)
    assert logged(run) == logged(tmp_path / "whole")


def test_two_processes_save_when_one_loses_a_data_worker_go_on_and_one_ends_as_one_would(
    config_file, video_folder, tmp_path
):
    run, name = tmp_path / "run", f"{config_file}:demo_pretrain"
    flags = ("--config.mesh.fsdp=2", "--config.data.num_workers=1")
    job = Job(name, run, 2, *flags, num_steps=5000)
    job.wait_for_step(2)
    worker_of(psutil.Process(job.processes[1].pid)).kill()
    codes, said = job.end()
    assert codes == [preemption.EXIT_CODE] * 2, said
    assert "a data worker was killed" in said[1]
    (saved,) = (int(file.name) for file in (run / "checkpoints").iterdir())
    assert all(f"step {saved} is saved" in text for text in said)

    newest = run / "checkpoints" / str(saved)
    shutil.copytree(newest, run / "checkpoints" / str(saved + 1))
    (run / "checkpoints" / str(saved + 1) / "state" / "manifest.ocdbt").write_bytes(b"")
    job = Job(name, run, 2, "--peer_timeout=5", num_steps=5000)
    job.wait_for_step(saved + 2)
    job.processes[1].kill()
    codes, said = job.end()
    assert codes == [-signal.SIGABRT, -signal.SIGKILL], said
    assert "unhealthy (stopped sending heartbeats):\n1\n" in said[0]
    for text in said:  # The first process found the damage; both know.
        assert f"step {saved + 1}: state/manifest.ocdbt" in text
        assert f"resuming from the checkpoint of step {saved}" in text

    config = shrunk.recipe("demo_pretrain", video_folder, **TINY, num_steps=5000)
    config.stop_at_step = saved + 2
    train(config, str(run), jax.devices()[:1])
    train(config, str(tmp_path / "one"), jax.devices()[:1])
    assert [line["step"] for line in logged(run)] == list(range(1, saved + 3))
    assert_same_run(tmp_path / "one", run, "train/loss")


def test_two_processes_finetune_and_evaluate_as_one(config_file, video_folder, tmp_path):
    parts = random_weights.random_params(random_weights.AUTOENCODER)
    random_weights.write_run(tmp_path / "pretrained", parts)
    options = {
        "eval.holdout": 0.3,
        "init_from": str(tmp_path / "pretrained"),
        **{"model.encoder.dim": 24, "model.encoder.depth": 2, "model.encoder.heads": 3},
    }
    job = Job(f"{config_file}:demo_finetune", tmp_path / "two", 2, **options)
    codes, said = job.end()
    assert codes == [0] * 2, said

    config = shrunk.recipe("demo_finetune", video_folder, **ENCODER)
    config.update_from_flattened_dict(options)
    train(config, str(tmp_path / "one"), jax.devices()[:1])
    assert_same_run(tmp_path / "one", tmp_path / "two", "train/loss", "train/top1", "eval/top1")
    one, two = ((tmp_path / run / "evaluation.json").read_text() for run in ("one", "two"))
    assert json.loads(one)["top1"] == json.loads(two)["top1"]


@pytest.mark.parametrize("what", ["config", "data"])
def test_processes_that_differ_all_end_with_the_differences(
    what, config_file, video_folder, tmp_path
):
    other = "--config.seed=1"
    if what == "data":
        shutil.copytree(video_folder, tmp_path / "videos")
        (tmp_path / "videos" / "odd" / "video_01.mp4").unlink()
        other = f"--config.data.path={tmp_path / 'videos'}"
    job = Job(f"{config_file}:demo_pretrain", tmp_path / "run", 2, of_last=(other,))
    codes, said = job.end()
    assert codes == [1, 1], said
    found = {"config": "--config.seed=1, not 0", "data": "'odd/video_01.mp4' removed"}[what]
    for text in said:
        assert "process 1:" in text
        assert found in text
    assert not (tmp_path / "run").exists()


def test_an_error_in_one_process_ends_all(config_file, tmp_path):
    nowhere = "--config.data.path=/nowhere"
    job = Job(f"{config_file}:demo_pretrain", tmp_path, 2, "--peer_timeout=10", of_last=(nowhere,))
    codes, said = job.end()
    assert codes == [-signal.SIGABRT, 1], said
    assert "no folder at /nowhere" in said[1]


def test_a_folder_of_one_process_alone_is_refused(config_file, tmp_path):
    homes = [tmp_path / name for name in ("one", "other")]
    for home in homes:
        home.mkdir()
    codes, said = Job(f"{config_file}:demo_pretrain", "~/run", 2, homes=homes).end()
    assert codes == [1, 1], said
    assert all("process 1 does not see the folder of process 0" in text for text in said)


def test_a_full_disk_stops_with_the_older_checkpoint_kept(config_file, video_folder, tmp_path):
    """The kernel limits the size of files, which fails writes as a full disk does."""
    run = tmp_path / "run"
    config = shrunk.recipe("demo_pretrain", video_folder, **TINY, num_steps=4, stop_at_step=2)
    train(config, str(run), jax.devices()[:1])
    job = Job(f"{config_file}:demo_pretrain", run, 1, num_steps=4)
    resource.prlimit(job.processes[0].pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
    codes, said = job.end()
    assert codes == [1], said
    assert "step 2. Free space" in said[0]
    assert load_run(run).step == 2
