"""What a compiled program sends between chips: how much, by which kind of operation, along what."""

import dataclasses
import re
from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Int

from mgm_jax.aot.hlo import Instruction, Program

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

_CHANNEL = re.compile(r"\bchannel_id=(\d+)")

# How often a chip sends the whole array, for groups of n chips in a ring.
_SENT = {
    "all-reduce": lambda n: 2 * (n - 1) / n,
    "all-gather": lambda n: (n - 1) / n,
    "reduce-scatter": lambda n: (n - 1) / n,
    "all-to-all": lambda n: (n - 1) / n,
    "collective-permute": lambda n: 1.0,
}


@dataclasses.dataclass(frozen=True)
class Collective:
    """One operation of the program.

    Attributes:
        kind: One of `KINDS`.
        axes: Mesh axes along which its groups lie.
        group_size: Chips of a group.
        num_bytes: Size of the array as a chip sees it: the sum of an all-reduce, the whole of what
            an all-gather makes or a reduce-scatter takes, what an all-to-all or a permutation
            moves.
        times: How often it runs in a step.
    """

    kind: str
    axes: tuple[str, ...]
    group_size: int
    num_bytes: int
    times: int

    @property
    def sent(self) -> float:
        """Bytes that a chip sends in a step, by a ring algorithm."""
        return self.times * self.num_bytes * _SENT[self.kind](self.group_size)


def find_collectives(program: Program, mesh_shape: Mapping[str, int]) -> list[Collective]:
    """All collective operations of a program between more than one chip.

    Operations that start and end apart count once, and so do those that TPU programs run beside
    other work: they stand in several fusions, always with the same channel. An all-reduce of which
    every chip keeps a part, as TPU programs contain them in a fusion, is a reduce-scatter.

    Args:
        program: Compiled for the devices of a mesh.
        mesh_shape: Size of each axis, as `jax.sharding.Mesh.shape`.

    Returns:
        In the order of the program.
    """
    found, channels = [], set()
    for computation, instruction, times, fused in program.executed():
        kind = instruction.opcode.removesuffix("-start")
        if kind not in KINDS:
            continue
        channel = _CHANNEL.search(instruction.text)
        if fused and channel:
            if channel[1] in channels:
                continue
            channels.add(channel[1])
        groups = parse_groups(instruction.text, int(np.prod(list(mesh_shape.values()))))
        size = groups.shape[1]
        if size == 1 or not len(groups):
            continue
        if fused and kind == "all-reduce" and "all-reduce-scatter" in computation:
            num_bytes, kind = _result_bytes(instruction), "reduce-scatter"
        else:
            num_bytes = _result_bytes(instruction) * (size if kind == "reduce-scatter" else 1)
        found.append(Collective(kind, _axes(groups, mesh_shape), size, num_bytes, times))
    return found


def summarise(
    collectives: list[Collective],
) -> Iterator[tuple[str, tuple[str, ...], int, int, float]]:
    """Adds up by kind and axes.

    Yields:
        (kind, axes, runs in a step, bytes of the arrays, bytes that a chip sends).
    """
    for kind in KINDS:
        of_kind = [collective for collective in collectives if collective.kind == kind]
        for axes in sorted({collective.axes for collective in of_kind}):
            group = [collective for collective in of_kind if collective.axes == axes]
            yield (
                kind,
                axes,
                sum(collective.times for collective in group),
                sum(collective.times * collective.num_bytes for collective in group),
                sum(collective.sent for collective in group),
            )


def parse_groups(text: str, num_devices: int) -> Int[np.ndarray, "groups size"]:
    """Reads which devices work together.

    Args:
        text: Attributes of an instruction, with its groups in one of XLA's forms: a list, as
            `{{0,1},{2,3}}`; a reshaped sequence, as `[2,2]<=[2,2]T(1,0)`; axes of a mesh, as
            `mesh['a'=2,'b'=2] {'a'}`; or pairs of source and target.
        num_devices: Devices of the program.

    Returns:
        Positions of the devices in the program's order.
    """
    pairs = re.search(r"source_target_pairs=\{(.*?\})?\}", text)
    if pairs:
        return np.array(_lists(pairs[1] or ""), int).reshape(-1, 2)
    listed = re.search(r"replica_groups=\{(.*?\})?\}", text)
    if listed:
        return np.array(_lists(listed[1] or "") or [range(num_devices)], int)
    iota = re.search(r"replica_groups=\[([\d,]+)\]<=(\[[\d,]+\](?:T\([\d,]+\))?)", text)
    if iota:
        return _sequence(iota[2]).reshape(_numbers(iota[1]))
    mesh = re.search(
        r"replica_groups=@?\w*mesh\[([^\]]*)\](?:, device_ids=\(([^)]*\)?)\))? \{([^}]*)\}", text
    )
    if mesh is None:
        raise ValueError(f"no groups of devices in {text[:300]}")
    sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", mesh[1])}
    ids = _sequence(mesh[2]) if mesh[2] else np.arange(num_devices)
    shape, inside = [], []
    within = {
        name: (int(before or 1), int(size or sizes[name]))
        for name, before, size in re.findall(r"'(\w+)'(?::\((\d+)\)(\d+))?", mesh[3])
    }
    for name, size in sizes.items():
        before, own = within.get(name, (size, 1))
        if name in within:
            inside.append(len(shape) + 1)
        shape += [before, own, size // (before * own)]
    return np.moveaxis(
        ids.reshape(shape), inside, range(len(shape) - len(inside), len(shape))
    ).reshape(-1, int(np.prod([shape[axis] for axis in inside])))


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _lists(text: str) -> list[list[int]]:
    return [_numbers(group) for group in re.findall(r"\{([\d,]+)\}", text)]


def _sequence(text: str) -> Int[np.ndarray, " n"]:
    """`[4,2]T(1,0)`: 0, 1, … in this shape, transposed, flat."""
    shape, _, order = text.partition("T")
    sizes = _numbers(shape.strip("[]"))
    ids = np.arange(np.prod(sizes)).reshape(sizes)
    return (ids.transpose(_numbers(order.strip("()"))) if order else ids).reshape(-1)


def _axes(groups: Int[np.ndarray, "groups size"], mesh_shape: Mapping[str, int]) -> tuple[str, ...]:
    places = np.stack(np.unravel_index(groups, tuple(mesh_shape.values())))
    varies = (places != places[:, :, :1]).any(axis=(1, 2))
    return tuple(axis for axis, used in zip(mesh_shape, varies, strict=True) if used)


def _result_bytes(instruction: Instruction) -> int:
    arrays = instruction.arrays
    if instruction.opcode == "all-gather-start":
        arrays = arrays[len(arrays) // 2 :]  # The operands come first.
    if instruction.opcode == "collective-permute-start":
        arrays = arrays[1:2]
    return sum(array.num_bytes for array in arrays)
