"""Topologies to compile for, by name, on a machine without such chips."""

import dataclasses
import importlib.util
import math
import os
import re

import jax
from jax.experimental import topologies

from mgm_jax.aot.chips import CHIPS, CHIPS_PER_HOST, GPUS, GPUS_PER_HOST, Gpu, Tpu
from mgm_jax.errors import ConfigError

MEMORY_FRACTION = "XLA_CLIENT_MEM_FRACTION"
"""Environment variable: the part of a GPU's memory that JAX takes, by default three quarters."""


def parse_topology(topology: str) -> Tpu | Gpu:
    """The chip of a topology such as v5e:16x16, v4:4x4x8, h100:8 or h100:2x8 (2 hosts of 8 GPUs).

    The memory of a GPU is the part of it that JAX takes.

    Raises:
        ConfigError: There is no such chip, or no slice or host of this shape.
    """
    name, _, shape = topology.partition(":")
    if name not in CHIPS:
        raise ConfigError(
            f"--topology={topology}: no chip {name!r}; choose one of {', '.join(CHIPS)}, as in "
            "v5e:16x16 or h100:8"
        )
    chip = CHIPS[name]
    given = re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", shape)
    sizes = [int(size) for size in shape.split("x")] if given else []
    if isinstance(chip, Gpu):
        if len(sizes) not in (1, 2) or sizes[-1] > GPUS_PER_HOST:
            raise ConfigError(
                f"--topology={topology}: give the GPUs of a host, at most {GPUS_PER_HOST}, as in "
                f"{name}:8, or hosts and GPUs of each, as in {name}:2x8"
            )
        return dataclasses.replace(chip, memory=chip.memory * memory_fraction())
    if len(sizes) != chip.torus_dimensions:
        example = "16x16" if chip.torus_dimensions == 2 else "4x4x4"
        raise ConfigError(
            f"--topology={topology}: {name} slices have {chip.torus_dimensions} dimensions, as in "
            f"{name}:{example}"
        )
    if (num_chips := math.prod(sizes)) % CHIPS_PER_HOST:
        raise ConfigError(
            f"--topology={topology} has {num_chips} chips, and a host has {CHIPS_PER_HOST}; choose "
            "a multiple"
        )
    return chip


def memory_fraction() -> float:
    """The part of a GPU's memory that JAX takes.

    Raises:
        ConfigError: The environment variable is no such part.
    """
    # The older name means the same.
    text = os.environ.get(MEMORY_FRACTION) or os.environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION")
    try:
        fraction = float(text or 0.75)
    except ValueError:
        fraction = 0.0
    if not 0 < fraction <= 1:
        raise ConfigError(f"{MEMORY_FRACTION}={text} must be above 0 and at most 1")
    return fraction


def topology_devices(topology: str) -> list[jax.Device]:
    """Devices to compile for, on which nothing can run.

    Raises:
        ConfigError: The compiler for them is missing, or does not support the topology.
    """
    chip = parse_topology(topology)
    if isinstance(chip, Gpu):
        _require("jax_cuda13_plugin", "NVIDIA GPUs", "requirements-gpu-check.txt")
        *hosts, gpus = topology.partition(":")[2].split("x")
        # Slices, hosts, GPUs of a host.
        shape = f"1x{hosts[0] if hosts else 1}x{gpus}"
        whole = GPUS[topology.partition(":")[0]]  # Not only the part that JAX takes.
        options = {"platform": "cuda", "topology": shape, "target_config": whole.target}
    else:
        _require("libtpu", "TPUs", "requirements-tpu.txt")
        # Keeps libtpu from looking for chips in this machine or in the cloud.
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
        os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
        options = {"platform": "tpu", "topology_name": topology, **dict(chip.compile_options)}
    try:
        found = topologies.get_topology_desc(**options)
    except jax.errors.JaxRuntimeError as error:
        raise ConfigError(f"--topology={topology}: {error}") from error
    return list(found.devices)


def _require(package: str, chips: str, requirements: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"{package}, which compiles for {chips}, is not installed; pip install -r "
            f"{requirements}"
        )
