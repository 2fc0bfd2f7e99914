import dataclasses
import pathlib
import subprocess
import sys

import pytest

from mgm_jax import compile
from mgm_jax.aot import chips, roofline
from mgm_jax.aot.check import CompiledStep, Memory
from mgm_jax.aot.collectives import Collective
from mgm_jax.errors import ConfigError
from mgm_jax.training import sharding
from mgm_jax.training.step_counts import StepCounts

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]


def test_sizes_come_from_the_flags_or_the_data_set():
    find = compile.training_set
    assert find("configs/k400_pretrain.py:mask=smm", "pretrain", None, None) == (240_000, 400)
    assert find("configs/k400_pretrain.py", "pretrain", 7, None) == (7, 400)
    transfer = "configs/transfer_finetune.py:views=2,dataset=hmdb51"
    assert find(transfer, "finetune", None, None) == (3_570, 51)
    transfer = "configs/transfer_finetune.py:dataset=hmdb51,epochs=50"
    assert find(transfer, "finetune", None, None) == (3_570, 51)
    with pytest.raises(ConfigError, match=r"mine\.py.*--num_videos"):
        find("mine.py", "pretrain", None, None)
    with pytest.raises(ConfigError, match="--num_classes"):
        find("mine.py", "finetune", 7, None)
    assert find("mine.py", "finetune", 7, 3) == (7, 3)


def test_the_report_says_what_limits_and_how_long_it_takes():
    found = CompiledStep(
        topology="v5e:2x4",
        chip=chips.CHIPS["v5e"],
        mesh=sharding.make_mesh({"data": 8, "fsdp": 1, "tensor": 1}),
        num_hosts=2,
        num_parameters=94_000_000,
        state_bytes=10**9,
        memory=Memory(2**30, 2**20, 3 * 2**30, 2**20, 0),
        flops=8e12,
        chip_flops=1.97e12,
        traffic={("MLPs", "fusion"): 12e9, ("input", "copy"): 4.38e9},
        collectives=[Collective("all-reduce", ("data",), 8, 10**8, 3)],
        unknown_loops=("while.7",),
        time=roofline.StepTime(compute=0.010, memory=0.020, network=0.002),
        batch_bytes=16 * 10**6,
        clips=16,
        compile_seconds=61.0,
    )
    text = compile.report(found, StepCounts(4_320_000, 10, 4_320_000, 1.0))
    for shown in (
        "94.0 M parameters; a checkpoint holds 1.00 GB",
        "peak            4.002    25%",
        "0.500 T per clip",
        "along data: 3 times, 0.300 GB in total; a chip sends 0.525 GB",
        "while.7",
        "limited by memory",
        "20.00 ms per step,      800 clips/s, per host    400 clips/s and 0.40 GB/s",
        "32.00 ms per step,      500 clips/s, per host    250 clips/s",
        "1.60 days for 4320000 steps",
    ):
        assert shown in text, shown
    table = compile.traffic_table(found.traffic).splitlines()
    assert table[1].split() == ["all", "fusion", "copy"]
    assert [line.split() for line in table[2:]] == [
        ["MLPs", "12.00", "12.00", "0.00"],
        ["input", "4.38", "0.00", "4.38"],
    ]
    assert dataclasses.replace(found.time, network=1.0).limit == "network"


def test_the_command_names_a_wrong_topology():
    command = [sys.executable, "-m", "mgm_jax.compile", "--config=configs/k400_pretrain.py"]
    ended = subprocess.run(
        [*command, "--topology=v9:2x2"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert "no chip 'v9'" in ended.stderr
