"""The device mesh, and how parameters and batches are sharded over it."""

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

AXES = ("data", "fsdp", "tensor")

# The first rule whose pattern is found in a parameter's path applies. Dimensions that the mesh axis
# does not divide are not split. Optimizer moments have the same paths as the parameters.
PARAMETER_RULES = (
    (r"attention/qkv/kernel$", PartitionSpec("fsdp", None, "tensor", None)),
    (r"attention/(q|v)_bias$", PartitionSpec("tensor", None)),
    (r"attention/proj/kernel$", PartitionSpec("tensor", None, "fsdp")),
    # A TPU's compiler cannot sum over tubelets' pixels that are split among all chips.
    (r"embed/kernel$", PartitionSpec(None, "fsdp")),
    (r"mlp/fc1/kernel$", PartitionSpec("fsdp", "tensor")),
    (r"mlp/fc1/bias$", PartitionSpec("tensor")),
    (r"mlp/fc2/kernel$", PartitionSpec("tensor", "fsdp")),
    (r"kernel$", PartitionSpec("fsdp", None)),
    (r".*", PartitionSpec()),
)


def make_mesh(axis_sizes: dict[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Arranges devices (all by default) as a `(data, fsdp, tensor)` mesh.

    One of the axis sizes may be -1 and takes the remaining devices. Axes are `Auto`: jit decides
    where the computation happens.

    Raises:
        ConfigError: The sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = [axis_sizes[axis] for axis in AXES]
    wanted = ", ".join(f"{axis}={size}" for axis, size in zip(AXES, sizes, strict=True))
    try:
        shape = np.empty(len(devices)).reshape(sizes).shape
    except ValueError as error:
        raise ConfigError(
            f"config.mesh ({wanted}): sizes must multiply to the {len(devices)} devices; one of "
            "them may be -1, for the rest"
        ) from error
    # An axis of 8 is longer than a side of a torus of 4x4x4 chips, so it may use parts of several.
    arranged = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    return Mesh(arranged, AXES, axis_types=(AxisType.Auto,) * len(AXES))


ACTIVATION_RULES = (("batch", ("data", "fsdp")), ("heads", "tensor"))
"""Mesh axes of the models' logical axes, for `flax.linen.logical_axis_rules`."""

ACTIVATION_RULES_WITHIN_DATA = (("batch", "fsdp"), ("heads", "tensor"))
"""The same for the clips of one part of the axis `data`."""


def on_mesh(function: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """Wraps a function so that its models shard their activations over a mesh; to be jitted."""

    @functools.wraps(function)
    def placed(*arguments: Any) -> Any:
        with (
            jax.sharding.use_abstract_mesh(mesh.abstract_mesh),
            nn.logical_axis_rules(ACTIVATION_RULES),
        ):
            return function(*arguments)

    return placed


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Batches are split along their first dimension, over `data` and `fsdp`."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def host_rows(mesh: Mesh, batch_size: int, process: int) -> list[int]:
    """The rows of a global batch that the devices of a process hold, in ascending order.

    They may lie apart: a mesh on a TPU torus follows its links, not the numbers of the hosts.
    """
    owners = np.array([shard[0].process_index for shard in _shards(mesh)])
    rows = np.arange(batch_size).reshape(len(owners), -1)
    return rows[owners == process].ravel().tolist()


def _shards(mesh: Mesh) -> np.ndarray:
    """The devices of each part of a batch, in the order of its rows."""
    return mesh.devices.reshape(-1, mesh.shape["tensor"])


def check_batch(mesh: Mesh, batch_size: int, grad_accum_steps: int = 1) -> None:
    """Refuses a global batch that the mesh, or gradient accumulation, cannot split evenly.

    Raises:
        ConfigError: With the nearest batch sizes, or the sizes of the mesh, that work.
    """
    for devices in _shards(mesh):
        if len({device.process_index for device in devices}) > 1:
            raise ConfigError(
                f"config.mesh.tensor={mesh.shape['tensor']} splits a clip over several processes; "
                f"it may be at most the devices of one, {jax.local_device_count()}"
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


def state_sharding(mesh: Mesh, abstract_state: Any) -> Any:
    """The `NamedSharding` of every leaf of a train state or of variables, by `PARAMETER_RULES`."""

    def place(path: tuple, leaf: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        spec = next(spec for pattern, spec in PARAMETER_RULES if re.search(pattern, name))
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
    """Assembles the rows of all hosts (`host_rows`) into the global batch, on the devices."""
    return {
        name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()
    }


def sum_over_processes(counts: dict[str, int]) -> dict[str, int]:
    """Sums the counts of all processes; every process calls it and gets the sums."""
    if jax.process_count() == 1:
        return counts
    sums = multihost_utils.process_allgather(np.array(list(counts.values()))).sum(axis=0)
    return dict(zip(counts, sums.tolist(), strict=True))


def gather_texts(text: str) -> list[str]:
    """The texts of all processes, in their order; every process calls it and gets them."""
    if jax.process_count() == 1:
        return [text]
    encoded = text.encode(errors="backslashreplace")
    longest = int(multihost_utils.process_allgather(np.int32(len(encoded))).max())
    padded = np.frombuffer(encoded.ljust(longest + 1, b"\0"), np.uint8)
    rows = multihost_utils.process_allgather(padded)
    return [row.tobytes().rstrip(b"\0").decode() for row in rows]


def broadcast_text(text: str) -> str:
    """The first process's text; every process calls it and gets it."""
    return gather_texts(text if jax.process_index() == 0 else "")[0]
