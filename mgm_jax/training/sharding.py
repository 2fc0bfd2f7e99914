"""Meshes, and where parameters and batches live on them, by ordered rules."""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mgm_jax.errors import ConfigError
from mgm_jax.models.blocks import is_stacked

AXES = ("data", "fsdp", "tensor")

Rules = Sequence[tuple[str, PartitionSpec]]

# The first rule whose pattern is found in a parameter's path places it; a dimension that the axis
# does not divide stays whole. Optimizer moments carry the same paths, so they follow. A rule says
# nothing of the first axis of stacked blocks, which stays whole.
PARAMETER_RULES: Rules = (
    (r"attention/qkv/kernel$", PartitionSpec("fsdp", None, "tensor", None)),
    (r"attention/(q|v)_bias$", PartitionSpec("tensor", None)),
    (r"attention/proj/kernel$", PartitionSpec("tensor", None, "fsdp")),
    (r"mlp/fc1/kernel$", PartitionSpec("fsdp", "tensor")),
    (r"mlp/fc1/bias$", PartitionSpec("tensor")),
    (r"mlp/fc2/kernel$", PartitionSpec("tensor", "fsdp")),
    (r"kernel$", PartitionSpec("fsdp", None)),
    (r".*", PartitionSpec()),
)


def make_mesh(axis_sizes: dict[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Arranges devices as a `(data, fsdp, tensor)` mesh.

    Args:
        axis_sizes: Size of each axis; one of them may be -1 and takes the remaining devices.
        devices: The devices; all of them by default.

    Returns:
        The mesh, with Auto axes, over which jit places the computation.

    Raises:
        ConfigError: The sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = [axis_sizes[axis] for axis in AXES]
    wanted = ", ".join(f"{axis}={size}" for axis, size in zip(AXES, sizes, strict=True))
    if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
        raise ConfigError(
            f"config.mesh ({wanted}): sizes are positive, and one of them may be -1 for the rest"
        )
    known = int(np.prod([size for size in sizes if size != -1]))
    if len(devices) % known or (-1 not in sizes and known != len(devices)):
        raise ConfigError(
            f"config.mesh ({wanted}) does not use {len(devices)} devices exactly; "
            "let one axis be -1, or choose sizes that multiply to the number of devices"
        )
    shape = tuple(size if size != -1 else len(devices) // known for size in sizes)
    # An axis of 8 has no side of its own on a torus of 4x4x4 chips, so sides may be split.
    arranged = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    return Mesh(arranged, AXES, axis_types=(AxisType.Auto,) * len(AXES))


# How the models' logical axes lie on the mesh, for flax's `nn.logical_axis_rules`.
ACTIVATION_RULES = (("batch", ("data", "fsdp")),)


def on_mesh(function: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """Makes the models in a function lay their logical axes on a mesh; to be jitted for it."""

    @functools.wraps(function)
    def placed(*arguments: Any) -> Any:
        with (
            jax.sharding.use_abstract_mesh(mesh.abstract_mesh),
            nn.logical_axis_rules(ACTIVATION_RULES),
        ):
            return function(*arguments)

    return placed


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Batches are split over their first dimension, along `data` and `fsdp`."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def check_batch(mesh: Mesh, batch_size: int, grad_accum_steps: int = 1) -> None:
    """Refuses a global batch that the mesh cannot split evenly, each process reading its own clips.

    Args:
        mesh: The mesh.
        batch_size: Videos of a step.
        grad_accum_steps: Parts in which each device's share is computed.

    Raises:
        ConfigError: With the nearest batch sizes, or the sizes of the mesh, that work.
    """
    for devices in mesh.devices.reshape(-1, mesh.shape["tensor"]):
        if len({device.process_index for device in devices}) > 1:
            raise ConfigError(
                f"config.mesh.tensor={mesh.shape['tensor']} spreads a clip over several processes; "
                f"it may be as large as the devices of one, {jax.local_device_count()}"
            )
    shards = mesh.shape["data"] * mesh.shape["fsdp"]
    unit = shards * grad_accum_steps
    if batch_size % unit:
        below = batch_size // unit * unit
        near = " or ".join(str(size) for size in (below, below + unit) if size)
        parts = f" in {grad_accum_steps} parts each" if grad_accum_steps > 1 else ""
        raise ConfigError(
            f"config.batch_size={batch_size} is not divisible by the {shards} shards of the mesh "
            f"(data={mesh.shape['data']} x fsdp={mesh.shape['fsdp']}){parts}; use {near}"
        )


def state_sharding(mesh: Mesh, abstract_state: Any, rules: Rules = PARAMETER_RULES) -> Any:
    """The sharding of every leaf of a train state.

    Args:
        mesh: The mesh.
        abstract_state: Tree of arrays or `ShapeDtypeStruct`s.
        rules: Ordered (pattern, spec) pairs; the first pattern found in a leaf's path counts.

    Returns:
        The same tree with a `NamedSharding` at every leaf.
    """

    def place(path: tuple, leaf: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        spec = next(spec for pattern, spec in rules if re.search(pattern, name))
        if is_stacked(name):
            spec = PartitionSpec(None, *spec)
        return NamedSharding(mesh, _fit(spec, leaf.shape, mesh))

    return jax.tree_util.tree_map_with_path(place, abstract_state)


def _fit(spec: PartitionSpec, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    if len(spec) > len(shape):
        return PartitionSpec()
    return PartitionSpec(
        *(
            axis if axis and size % mesh.shape[axis] == 0 else None
            for axis, size in zip(spec, shape, strict=False)
        )
    )


def global_batch(sharding: NamedSharding, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Assembles the hosts' rows into arrays of the global batch, on the devices."""
    return {
        name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()
    }


def sum_over_processes(counts: dict[str, int]) -> dict[str, int]:
    """Adds up what each process counted; every process calls it, and has the sums."""
    if jax.process_count() == 1:
        return counts
    sums = multihost_utils.process_allgather(np.array(list(counts.values()))).sum(axis=0)
    return dict(zip(counts, sums.tolist(), strict=True))


def broadcast_text(text: str) -> str:
    """The first process's text; every process calls it, and has that."""
    if jax.process_count() == 1:
        return text
    said = text.encode()
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(said))))
    if not length:
        return ""
    same_length = np.frombuffer(said.ljust(length)[:length], np.uint8)
    return multihost_utils.broadcast_one_to_all(same_length).tobytes().decode()
