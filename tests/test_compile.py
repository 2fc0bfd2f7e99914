import dataclasses

import command_line

from mgm_jax import compile
from mgm_jax.aot import chips, roofline
from mgm_jax.aot.check import CompiledStep
from mgm_jax.aot.collectives import Collective
from mgm_jax.training import sharding


def test_the_report_says_what_limits_and_how_long_it_takes():
    found = CompiledStep(
        topology="v5e:2x4",
        chip=chips.CHIPS["v5e"],
        mesh=sharding.make_mesh({"data": 8, "fsdp": 1, "tensor": 1}),
        num_hosts=2,
        num_parameters=94_000_000,
        state_bytes=10**9,
        memory={"arguments": 2**30, "peak": 2**32},
        flops=8e12,
        chip_flops=1.97e12,
        traffic={("MLPs", "fusion"): 12e9, ("input", "copy"): 4.38e9},
        collectives=[Collective("all-reduce", ("data",), 8, 10**8, 3)],
        unknown_loops=("while.7",),
        time=roofline.StepTime(compute=0.010, memory=0.020, network=0.002),
        clips=16,
    )
    text = compile.report(found)
    for shown in (
        "94.0 M parameters; a checkpoint holds 1.00 GB",
        "peak            4.000    25%",
        "0.500 T per clip",
        "along data: 3 times, 0.300 GB in total; a chip sends 0.525 GB",
        "while.7",
        "limited by memory",
        "20.00 ms per step,      800 clips/s, per host    400 clips/s",
        "32.00 ms per step,      500 clips/s, per host    250 clips/s",
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
    arguments = ("--config=configs/k400_pretrain.py", "--topology=v9:2x2")
    ended = command_line.run("mgm_jax.compile", *arguments)
    assert ended.returncode == 1
    assert "no chip 'v9'" in ended.stderr
