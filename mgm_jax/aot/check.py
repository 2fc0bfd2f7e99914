"""A run's train step compiled for a TPU topology, on a machine without a TPU."""

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
from mgm_jax.data.loader import HOST_FIELDS
from mgm_jax.errors import ConfigError, DoesNotFitError
from mgm_jax.training import sharding
from mgm_jax.training.state import TrainState, abstract_state
from mgm_jax.training.tasks import STEPS_AHEAD, jit_step, make_task

_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Memory:
    """Memory of one chip, bytes.

    Attributes:
        arguments: The state and the batch.
        outputs: What the step returns beside the state, which takes the old one's place.
        temporaries: What it needs meanwhile, mostly activations.
        code: The program.
        waiting: Batches that wait for their step.
    """

    arguments: int
    outputs: int
    temporaries: int
    code: int
    waiting: int

    @property
    def peak(self) -> int:
        """All of it."""
        return sum(dataclasses.astuple(self))


@dataclasses.dataclass(frozen=True)
class PodCheck:
    """What is known of a step before a chip is rented.

    Attributes:
        topology: Name of the topology.
        chip: Its chip.
        mesh: Its chips as the config arranges them.
        num_hosts: Hosts of the slice.
        num_parameters: Parameters of the model.
        state_bytes: The whole train state: what a checkpoint holds.
        memory: Memory of a chip.
        flops: Of a step on all chips, as written.
        chip_flops: Of a step on one chip, as its matrix units run them.
        memory_bytes: To and from the memory of one chip in a step.
        collectives: What chips send to each other.
        unknown_loops: Loops counted once because their length is not known.
        time: Of a step.
        batch_bytes: Of a step's batch, on all chips.
        clips: In a step.
        compile_seconds: What compiling took.
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
    memory_bytes: float
    collectives: list[Collective]
    unknown_loops: tuple[str, ...]
    time: roofline.StepTime
    batch_bytes: int
    clips: int
    compile_seconds: float


def check(config: ConfigDict, topology: str, num_classes: int = 0) -> PodCheck:
    """Compiles the train step of a config for a topology, as `train` would run it there.

    Args:
        config: The run's config.
        topology: Such as v5e:16x16.
        num_classes: Classes of the data; not needed for pretraining.

    Returns:
        What came out.

    Raises:
        ConfigError: A value that cannot work, or libtpu is missing.
        DoesNotFitError: The step needs more memory than a chip has.
    """
    config_lib.check_values(config)
    chip, _ = parse_topology(topology)
    devices = topology_devices(topology)
    mesh = sharding.make_mesh(config.mesh.to_dict(), devices)
    sharding.check_batch(mesh, config.batch_size, config.grad_accum_steps)
    task = make_task(config, tuple(str(label) for label in range(num_classes)))
    state = abstract_state(task.init_fn, mesh)
    batch = abstract_batch(config, mesh)
    batch_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in batch.values())
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    arguments = _bytes_on_a_chip(state) + _bytes_on_a_chip(batch)
    if arguments > chip.memory:  # No need to compile for minutes.
        raise refusal(arguments, config, topology, mesh, state)

    start = time.monotonic()
    lowered = jit_step(task, mesh, shardings).lower(state, batch)
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        raise _as_refusal(error, config, topology, mesh, state) from error
    seconds = time.monotonic() - start

    stats = compiled.memory_analysis()
    shards = mesh.shape["data"] * mesh.shape["fsdp"]
    memory = Memory(
        arguments=stats.argument_size_in_bytes,
        outputs=stats.output_size_in_bytes - stats.alias_size_in_bytes,
        temporaries=stats.temp_size_in_bytes,
        code=stats.generated_code_size_in_bytes,
        waiting=STEPS_AHEAD * batch_bytes // shards,
    )
    if memory.peak > chip.memory:
        raise refusal(memory.peak, config, topology, mesh, state)
    program = hlo.parse(compiled.as_text())
    collectives = find_collectives(program, mesh.shape)
    flops, matrix_unit_flops = count_flops(task.step_fn, state, batch)
    memory_bytes = traffic.count_bytes(program)
    return PodCheck(
        topology=topology,
        chip=chip,
        mesh=mesh,
        num_hosts=len({device.process_index for device in devices}),
        num_parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        state_bytes=sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)),
        memory=memory,
        flops=flops,
        chip_flops=matrix_unit_flops / mesh.size,
        memory_bytes=memory_bytes,
        collectives=collectives,
        unknown_loops=program.unknown_loops,
        time=roofline.step_time(
            chip, matrix_unit_flops / mesh.size, memory_bytes, collectives, mesh
        ),
        batch_bytes=batch_bytes,
        clips=config.batch_size * config.data.repeated_augmentation,
        compile_seconds=seconds,
    )


def topology_devices(topology: str) -> list[jax.Device]:
    """The chips of a topology, to compile for.

    Args:
        topology: Such as v5e:16x16.

    Returns:
        Devices that nothing can run on.

    Raises:
        ConfigError: libtpu is missing, or knows no such topology.
    """
    chip, _ = parse_topology(topology)
    if importlib.util.find_spec("libtpu") is None:
        raise ConfigError(
            "libtpu, which compiles for TPUs, is not installed; pip install -r requirements-tpu.txt"
        )
    # It is to compile, not to look for chips here or for the cloud around.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    try:
        found = topologies.get_topology_desc(
            platform="tpu", topology_name=topology, **dict(chip.compile_options)
        )
    except jax.errors.JaxRuntimeError as error:
        raise ConfigError(f"--topology={topology}: {error}") from error
    return list(found.devices)


def abstract_batch(config: ConfigDict, mesh: Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes, types and shardings of a step's batch, by field, as the data pipeline makes it.

    Args:
        config: The run's config.
        mesh: Where it will live.
    """
    copies = config.data.repeated_augmentation
    clips = blank_clips(ReadSpec.from_config(config.data), copies)
    clips |= {"valid": np.zeros(copies, bool), "index": np.zeros(copies, np.uint32)}
    place = sharding.batch_sharding(mesh)
    return {
        name: jax.ShapeDtypeStruct(
            (config.batch_size * copies, *array.shape[1:]),
            jax.dtypes.canonicalize_dtype(array.dtype),
            sharding=place,
        )
        for name, array in clips.items()
        if name not in HOST_FIELDS
    }


def _as_refusal(
    error: Exception, config: ConfigDict, topology: str, mesh: Mesh, state: TrainState
) -> Exception:
    """What the compiler says of memory, as a refusal; other errors stay as they are."""
    text = str(error)
    if "RESOURCE_EXHAUSTED" not in text:
        return error
    needed = math.nan
    for pattern in (r"Used ([\d.]+)([KMGT]) of", r"\(([\d.]+)([KMGT])\) exceeds"):
        said = re.search(pattern, text)
        if said:
            needed = float(said[1]) * 2 ** (10 * (1 + "KMGT".index(said[2])))
            break
    return refusal(needed, config, topology, mesh, state)


def refusal(
    needed: float, config: ConfigDict, topology: str, mesh: Mesh, state: TrainState
) -> DoesNotFitError:
    """Says by how much a step does not fit and what helps.

    Args:
        needed: Memory of a chip that it needs, bytes; not a number where that is not known.
        config: The run's config.
        topology: Such as v5e:16x16.
        mesh: Its chips, as the config arranges them.
        state: The train state's shapes and places.

    Returns:
        The error to raise.
    """
    chip, _ = parse_topology(topology)
    own_state = _bytes_on_a_chip(state)
    per_chip = config.batch_size // (mesh.shape["data"] * mesh.shape["fsdp"])
    cures = []
    if own_state > chip.memory / 4 and config.mesh.fsdp == 1:
        cures.append(
            f"--config.mesh.fsdp=8 (the train state alone is {own_state / _GIB:.1f} GiB of each "
            "chip)"
        )
    less_kept = {"none": "--config.model.remat=dots or full", "dots": "--config.model.remat=full"}
    # Where state and batch alone are too much, keeping less for the backward pass is no cure.
    activations = own_state + _bytes_on_a_chip(abstract_batch(config, mesh)) <= chip.memory
    if activations and config.model.remat in less_kept:
        cures.append(less_kept[config.model.remat])
    parts = next(
        (
            parts
            for parts in range(config.grad_accum_steps + 1, per_chip + 1)
            if per_chip % parts == 0
        ),
        None,
    )
    if parts and activations:
        cures.append(
            f"--config.grad_accum_steps={parts} ({per_chip // parts} clips of a chip at a time)"
        )
    if parts:
        cures.append(f"a smaller --config.batch_size ({per_chip} for each chip now)")
    cures.append("more chips" if parts else "chips with more memory")
    amount = f"{needed / _GIB:.2f} GiB" if math.isfinite(needed) else "more memory"
    return DoesNotFitError(
        f"--topology={topology}: the step of config.batch_size={config.batch_size} needs {amount} "
        f"of the {chip.memory / _GIB:.2f} GiB that a program can have on a chip. What helps: "
        + "; ".join(cures)
    )


def _bytes_on_a_chip(tree: Any) -> int:
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )
