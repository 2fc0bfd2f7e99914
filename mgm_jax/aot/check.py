"""Compiles a run's train step for a topology of TPUs or GPUs, on a machine without them."""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mgm_jax import config as config_lib
from mgm_jax.aot import hlo, roofline, traffic
from mgm_jax.aot.chips import Chip, Gpu
from mgm_jax.aot.collectives import Collective, find_collectives
from mgm_jax.aot.flops import count_flops
from mgm_jax.aot.topology import (
    MEMORY_FRACTION,
    memory_fraction,
    parse_topology,
    topology_devices,
)
from mgm_jax.data.clip_reader import ReadSpec, blank_clips
from mgm_jax.data.key_clips import blank_boxes
from mgm_jax.data.loader import HOST_FIELDS
from mgm_jax.errors import ConfigError, DoesNotFitError
from mgm_jax.models import vit
from mgm_jax.training import sharding
from mgm_jax.training.memory import what_helps
from mgm_jax.training.state import TrainState, abstract_state
from mgm_jax.training.tasks import STEPS_AHEAD, jit_step, make_task

_GIB = 2**30
_LARGEST_FRACTION = 0.9  # Leaves some memory to the driver and to NCCL.
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
    """Compiles the step that `mgm_jax.main` would run on a topology such as v5e:16x16 or h100:8.

    Raises:
        ConfigError: A config value is invalid, or the compiler for the chip is missing.
        DoesNotFitError: The step needs more memory than a chip has.
    """
    config_lib.check_values(config)
    chip = parse_topology(topology)
    devices = topology_devices(topology)
    mesh = sharding.make_mesh(config.mesh.to_dict(), devices)
    sharding.check_batch(mesh, config.batch_size, config.grad_accum_steps)
    task = make_task(config, _CLASSES)
    for part in ("encoder", "decoder") if config.task == "pretrain" else ("encoder",):
        heads = vit.transformer_config(config.model, part).heads
        if heads % mesh.shape["tensor"]:
            logging.warning(
                "config.mesh.tensor=%d does not divide the %d heads of the %s: every chip of the "
                "axis computes all of its attention, which compute and step time leave out",
                *(mesh.shape["tensor"], heads, part),
            )
    state = abstract_state(task.init_fn, mesh)
    batch = abstract_batch(config, mesh)
    if (needed := _chip_bytes(state) + _chip_bytes(batch)) > chip.memory:
        # Saves minutes of compiling.
        raise refusal(f"it needs {needed / _GIB:.2f} GiB", config, topology, mesh, state)

    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    # Without a GPU to try them on, XLA finds no tiles for its own kernels of some products.
    options: dict[str, str | bool] | None = None
    if isinstance(chip, Gpu):
        options = {"xla_gpu_enable_triton_gemm": False}
    try:
        compiled = jit_step(task, mesh, shardings).lower(state, batch).compile(options)
    except RuntimeError as error:
        if "cuDNN not found" in str(error):
            raise ConfigError(
                "cuDNN, which compiles its attention, is not installed; pip install -r "
                "requirements-gpu-check.txt"
            ) from error
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise refusal(str(error).splitlines()[0], config, topology, mesh, state) from error

    stats, text = compiled.memory_analysis(), compiled.as_text()
    if stats is None or text is None:
        raise RuntimeError("the compiler gives no memory analysis or no program text")
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
    _, matrix_unit_flops = count_flops(
        sharding.on_mesh(task.step_fn, mesh), state, batch, chip=chip
    )
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
    if isinstance(parse_topology(topology), Gpu) and memory_fraction() < _LARGEST_FRACTION:
        cures.insert(0, f"{MEMORY_FRACTION}={_LARGEST_FRACTION} (part of a GPU that JAX takes)")
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
