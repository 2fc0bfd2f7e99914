"""Compiles a run's train step for a TPU topology, on a machine without a TPU."""

import dataclasses
import importlib.util
import math
import os
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
_CLASSES = tuple(map(str, range(400)))  # Of a classifier; its head is a small part of the step.


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """What a train step needs on a topology.

    Attributes:
        state_bytes: The whole train state, as in a checkpoint.
        memory: Memory of one chip, bytes: `arguments` (the train state and the batch), `outputs`
            (results other than the new state, which replaces the old one), `temporaries` (mostly
            activations), `code`, `waiting` (batches on the device that wait), and their sum `peak`.
        flops: FLOPs of a step's matrix products, all chips together.
        chip_flops: FLOPs that one chip's matrix units run in a step.
        traffic: Bytes to and from one chip's memory in a step, by part and operation.
        unknown_loops: Loops counted once because their trip count is not known.
        clips: Clips in a batch.
    """

    topology: str
    chip: Chip
    mesh: Mesh
    num_hosts: int
    num_parameters: int
    state_bytes: int
    memory: dict[str, int]
    flops: float
    chip_flops: float
    traffic: dict[tuple[str, str], float]
    collectives: list[Collective]
    unknown_loops: tuple[str, ...]
    time: roofline.StepTime
    clips: int


def check(config: ConfigDict, topology: str) -> CompiledStep:
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
    task = make_task(config, _CLASSES)
    state = abstract_state(task.init_fn, mesh)
    batch = abstract_batch(config, mesh)
    if (needed := _chip_bytes(state) + _chip_bytes(batch)) > chip.memory:
        # Saves minutes of compiling.
        raise refusal(f"it needs {needed / _GIB:.2f} GiB", config, topology, mesh, state)

    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    try:
        compiled = jit_step(task, mesh, shardings).lower(state, batch).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise refusal(str(error).splitlines()[0], config, topology, mesh, state) from error

    stats, text = compiled.memory_analysis(), compiled.as_text()
    if stats is None or text is None:
        raise RuntimeError("the TPU compiler gives no memory analysis or no program text")
    memory = {
        "arguments": stats.argument_size_in_bytes,
        "outputs": stats.output_size_in_bytes - stats.alias_size_in_bytes,
        "temporaries": stats.temp_size_in_bytes,
        "code": stats.generated_code_size_in_bytes,
        "waiting": STEPS_AHEAD * _chip_bytes(batch),
    }
    memory["peak"] = peak = sum(memory.values())
    if peak > chip.memory:
        raise refusal(f"it needs {peak / _GIB:.2f} GiB", config, topology, mesh, state)
    program = hlo.parse(text)
    collectives = find_collectives(program, mesh.shape)
    plain = config.copy_and_resolve_references()
    plain.model.attention = "xla"  # Kernels compute parts twice, or for padding.
    flops, _ = count_flops(make_task(plain, _CLASSES).step_fn, state, batch)
    _, matrix_unit_flops = count_flops(sharding.on_mesh(task.step_fn, mesh), state, batch)
    chip_flops, moved = matrix_unit_flops / mesh.size, traffic.count_bytes(program)
    return CompiledStep(
        topology=topology,
        chip=chip,
        mesh=mesh,
        num_hosts=len({device.process_index for device in devices}),
        num_parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        state_bytes=sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)),
        memory=memory,
        flops=flops,
        chip_flops=chip_flops,
        traffic=moved,
        collectives=collectives,
        unknown_loops=program.unknown_loops,
        time=roofline.step_time(chip, chip_flops, sum(moved.values()), collectives, mesh),
        clips=config.batch_size * config.data.repeated_augmentation,
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
    config: ConfigDict, mesh: Mesh, num_classes: int = len(_CLASSES)
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
    found: str, config: ConfigDict, topology: str, mesh: Mesh, state: TrainState
) -> DoesNotFitError:
    """The error for a step that does not fit, as was `found`, with the config values that help."""
    limit = parse_topology(topology).memory
    state_bytes = _chip_bytes(state)
    # Only if state and batch fit can smaller activations make it fit.
    fits = state_bytes + _chip_bytes(abstract_batch(config, mesh)) <= limit
    shards = mesh.shape["data"] * mesh.shape["fsdp"]
    cures = what_helps(config, shards, state=state_bytes > limit / 4, activations=fits)
    return DoesNotFitError(
        f"--topology={topology}: the step of config.batch_size={config.batch_size} does not fit "
        f"the {limit / _GIB:.2f} GiB that a program can have on a chip ({found}). What helps: "
        + "; ".join(cures)
    )


def _chip_bytes(tree: Any) -> int:
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )
