import os
import signal
import subprocess
import sys
import time

import jax
import pytest
from test_processes import REPOSITORY, free_port

from mgm_jax.training import distributed

SLURM = ("SLURM_NTASKS", "SLURM_STEP_NUM_NODES", "SLURM_GPUS_ON_NODE")


# JAX refuses to join others once it has used a device, as other tests here have.
PROGRAM = """
import sys, time
import jax
from absl import app
from mgm_jax.training import distributed
from mgm_jax.errors import ConfigError

def main(_):
    try:
        distributed.initialise_distributed()
    except ConfigError as error:
        sys.exit(f"error: {error}")
    print("joined" if jax.distributed.is_initialized() else "alone", flush=True)
    time.sleep(60 * jax.distributed.is_initialized())

app.run(main)
"""


def start(*flags, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *flags],
        cwd=REPOSITORY,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_alone_where_nothing_is_said():
    assert start().communicate(timeout=60)[0] == "alone\n"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "--num_processes, --process_id"),
        (("--num_processes=2", "--process_id=2"), "process_id < num_processes"),
    ],
)
def test_half_of_it_or_nonsense_is_refused(flags, message):
    process = start("--coordinator_address=localhost:1", *flags)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert message in said.splitlines()[-1]


@pytest.mark.parametrize(
    ("told", "gpus"),
    [(("4", "4", "8"), list(range(8))), (("32", "4", "8"), None), (("4", "4", None), None)],
)
def test_slurm_gives_one_process_all_gpus_of_its_node(told, gpus, monkeypatch):
    for name, value in zip(SLURM, told, strict=True):
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    assert distributed._all_gpus_of_node() == gpus
    monkeypatch.setenv("JAX_LOCAL_DEVICE_IDS", "0")
    assert distributed._all_gpus_of_node() is None


def test_a_failed_computation_waits_for_word_of_the_others(monkeypatch):
    naps = []
    monkeypatch.setattr(time, "sleep", naps.append)
    for count in (1, 2):
        monkeypatch.setattr(jax, "process_count", lambda count=count: count)
        failed = pytest.raises(jax.errors.JaxRuntimeError, match="gone")
        with failed, distributed.wait_for_peer_error():
            raise jax.errors.JaxRuntimeError("gone")
    assert naps == [120]


@pytest.mark.slow
def test_the_death_of_one_process_ends_the_others_with_its_number():
    said = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}", "JAX_NUM_PROCESSES": "2"}
    first, second = (
        start("--peer_timeout=2", **said, JAX_PROCESS_ID=str(number)) for number in range(2)
    )
    assert first.stdout.readline() == second.stdout.readline() == "joined\n"
    second.kill()
    _, cause = first.communicate(timeout=30)
    second.communicate()
    assert first.returncode == -signal.SIGABRT
    assert "unhealthy (stopped sending heartbeats):\n1\n" in cause
