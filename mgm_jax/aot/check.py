"""Compiles a run's train step for a TPU topology, on a machine without a TPU."""

import dataclasses
import importlib.util
import math
import os
import re
import time
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mgm_jax import config as config_lib
from mgm_jax.aot import hlo, roofline, traffic
from mgm_jax.aot.chips import Chip, parse_topology
from mgm_jax.aot.collectives import Collective, find_collectives
from mgm_jax.aot.flops import count_flops
from mgm_jax.data.clip_reader import ReadSpec, blank_clips
from mgm_jax.data.key_clips import blank_boxes
from mgm_jax.data.loader import HOST_FIELDS
from mgm_jax.errors import ConfigError, DoesNotFitError
from mgm_jax.training import sharding
from mgm_jax.training.memory import what_helps
from mgm_jax.training.state import TrainState, abstract_state
from mgm_jax.training.tasks import STEPS_AHEAD, jit_step, make_task

_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Memory:
    """Memory of one chip, bytes.

    Attributes:
        arguments: The train state and the batch.
        outputs: Results of the step other than the new state, which replaces the old one.
        temporaries: Mostly activations.
        code: The compiled program.
        waiting: Batches on the device that wait for their step.
    """

    arguments: int
    outputs: int
    temporaries: int
    code: int
    waiting: int

    @property
    def peak(self) -> int:
        """The sum of all parts."""
        return sum(dataclasses.astuple(self))


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """What a train step needs on a topology.

    Attributes:
        state_bytes: The whole train state, as in a checkpoint.
        memory: Memory of one chip.
        flops: FLOPs of a step's matrix products, all chips together.
        chip_flops: FLOPs that one chip's matrix units run in a step.
        traffic: Bytes to and from one chip's memory in a step, by part and operation.
        unknown_loops: Loops counted once because their trip count is not known.
        batch_bytes: One batch, all chips together.
        clips: Clips in a batch.
    """

    topology: str
    chip: Chip
    mesh: Mesh
    num_hosts: int
    num_parameters: int
    state_bytes: int
    memory: Memory
    flops: float
    chip_flops: float
    traffic: dict[tuple[str, str], float]
    collectives: list[Collective]
    unknown_loops: tuple[str, ...]
    time: roofline.StepTime
    batch_bytes: int
    clips: int
    compile_seconds: float


def check(config: ConfigDict, topology: str, num_classes: int = 0) -> CompiledStep:
    """Compiles the step that `mgm_jax.main` would run on a topology such as v5e:16x16.

    Raises:
        ConfigError: A config value is invalid, or libtpu is missing.
        DoesNotFitError: The step needs more memory than a chip has.
    """
    config_lib.check_values(config)
    chip = parse_topology(topology)
    devices = topology_devices(topology)
    mesh = sharding.make_mesh(config.mesh.to_dict(), devices)
    sharding.check_batch(mesh, config.batch_size, config.grad_accum_steps)
    labels = tuple(str(label) for label in range(num_classes))
    task = make_task(config, labels)
    state = abstract_state(task.init_fn, mesh)
    batch = abstract_batch(config, mesh, num_classes)
    if (needed := _chip_bytes(state) + _chip_bytes(batch)) > chip.memory:
        raise refusal(needed, config, topology, mesh, state)  # Saves minutes of compiling.

    start = time.monotonic()
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    try:
        compiled = jit_step(task, mesh, shardings).lower(state, batch).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise refusal(_needed_bytes(str(error)), config, topology, mesh, state) from error
    compile_seconds = time.monotonic() - start

    stats, text = compiled.memory_analysis(), compiled.as_text()
    if stats is None or text is None:
        raise RuntimeError("the TPU compiler gives no memory analysis or no program text")
    batch_bytes = _total_bytes(batch)
    memory = Memory(
        arguments=stats.argument_size_in_bytes,
        outputs=stats.output_size_in_bytes - stats.alias_size_in_bytes,
        temporaries=stats.temp_size_in_bytes,
        code=stats.generated_code_size_in_bytes,
        waiting=STEPS_AHEAD * batch_bytes // (mesh.shape["data"] * mesh.shape["fsdp"]),
    )
    if memory.peak > chip.memory:
        raise refusal(memory.peak, config, topology, mesh, state)
    program = hlo.parse(text)
    collectives = find_collectives(program, mesh.shape)
    plain = config.copy_and_resolve_references()
    plain.model.attention = "xla"  # Kernels compute parts twice, or for padding.
    flops, _ = count_flops(make_task(plain, labels).step_fn, state, batch)
    _, matrix_unit_flops = count_flops(sharding.on_mesh(task.step_fn, mesh), state, batch)
    chip_flops, moved = matrix_unit_flops / mesh.size, traffic.count_bytes(program)
    return CompiledStep(
        topology=topology,
        chip=chip,
        mesh=mesh,
        num_hosts=len({device.process_index for device in devices}),
        num_parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        state_bytes=_total_bytes(state),
        memory=memory,
        flops=flops,
        chip_flops=chip_flops,
        traffic=moved,
        collectives=collectives,
        unknown_loops=program.unknown_loops,
        time=roofline.step_time(chip, chip_flops, sum(moved.values()), collectives, mesh),
        batch_bytes=batch_bytes,
        clips=config.batch_size * config.data.repeated_augmentation,
        compile_seconds=compile_seconds,
    )


def topology_devices(topology: str) -> list[jax.Device]:
    """Devices to compile for, on which nothing can run.

    Raises:
        ConfigError: libtpu is missing, or does not support the topology.
    """
    chip = parse_topology(topology)
    if importlib.util.find_spec("libtpu") is None:
        raise ConfigError(
            "libtpu, which compiles for TPUs, is not installed; pip install -r requirements-tpu.txt"
        )
    # Keeps libtpu from looking for chips in this machine or in the cloud.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    try:
        found = topologies.get_topology_desc(
            platform="tpu", topology_name=topology, **dict(chip.compile_options)
        )
    except jax.errors.JaxRuntimeError as error:
        raise ConfigError(f"--topology={topology}: {error}") from error
    return list(found.devices)


def abstract_batch(
    config: ConfigDict, mesh: Mesh, num_classes: int = 0
) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes, dtypes and shardings of a batch, by field, as the data pipeline makes it."""
    copies = config.data.repeated_augmentation
    clips = blank_clips(ReadSpec.from_config(config.data), copies)
    if config.task == "detect":
        clips |= blank_boxes(copies, config.data.max_boxes, num_classes)
    clips |= {"valid": np.zeros(copies, bool), "index": np.zeros(copies, np.uint32)}
    return {
        name: jax.ShapeDtypeStruct(
            (config.batch_size * copies, *array.shape[1:]),
            jax.dtypes.canonicalize_dtype(array.dtype),
            sharding=sharding.batch_sharding(mesh),
        )
        for name, array in clips.items()
        if name not in HOST_FIELDS
    }


def refusal(
    needed: float, config: ConfigDict, topology: str, mesh: Mesh, state: TrainState
) -> DoesNotFitError:
    """The error for a step that does not fit, with the config values that help.

    `needed` is in bytes per chip, NaN if not known.
    """
    limit = parse_topology(topology).memory
    state_bytes = _chip_bytes(state)
    cures = []
    if state_bytes > limit / 4 and config.mesh.fsdp == 1:
        cures.append(
            f"--config.mesh.fsdp=8 (the train state alone is {state_bytes / _GIB:.1f} GiB of each "
            "chip)"
        )
    # Only if state and batch fit can smaller activations make it fit.
    fits = state_bytes + _chip_bytes(abstract_batch(config, mesh)) <= limit
    cures += what_helps(config, mesh.shape["data"] * mesh.shape["fsdp"], activations=fits)
    amount = f"{needed / _GIB:.2f} GiB" if math.isfinite(needed) else "more memory"
    return DoesNotFitError(
        f"--topology={topology}: the step of config.batch_size={config.batch_size} needs {amount} "
        f"of the {limit / _GIB:.2f} GiB that a program can have on a chip. What helps: "
        + "; ".join(cures)
    )


def _needed_bytes(message: str) -> float:
    """Bytes that the program needs according to the compiler's message; NaN if it has none."""
    for pattern in (r"Used ([\d.]+)([KMGT]) of", r"\(([\d.]+)([KMGT])\) exceeds"):
        if found := re.search(pattern, message):
            return float(found[1]) * 2 ** (10 * (1 + "KMGT".index(found[2])))
    return math.nan


def _chip_bytes(tree: Any) -> int:
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


def _total_bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
