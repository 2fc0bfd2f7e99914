import os
import subprocess
import sys

import pytest
from test_processes import REPOSITORY, free_port

from mgm_jax.training import distributed

SLURM = ("SLURM_NTASKS", "SLURM_STEP_NUM_NODES", "SLURM_GPUS_ON_NODE")


# JAX refuses to join others once it has used a device, as other tests here have.
PROGRAM = """
import sys
import jax
from absl import app
from mgm_jax.training import distributed
from mgm_jax.errors import ConfigError

def main(_):
    try:
        distributed.initialise_distributed()
    except ConfigError as error:
        sys.exit(f"error: {error}")
    print("joined" if jax.distributed.is_initialized() else "alone")

app.run(main)
"""


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        ((), 0, "alone"),
        (("--num_processes=1", "--process_id=0"), 0, "joined"),
        (("--num_processes=2",), 1, "--process_id"),
        (("--num_processes=2", "--process_id=2"), 1, "--process_id, --num_processes"),
    ],
)
def test_processes_join_if_flags_or_variables_name_all_of_them(flags, code, message):
    address = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}"} if flags else {}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *flags],
        cwd=REPOSITORY,
        env=os.environ | address,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == code, ended.stderr
    assert message in (ended.stderr if code else ended.stdout).splitlines()[-1]


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
