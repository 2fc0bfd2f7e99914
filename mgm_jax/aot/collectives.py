"""Communication between chips in a compiled program: kinds, mesh axes and bytes."""

import dataclasses
import math
import re
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from mgm_jax.aot.hlo import Program

# Fraction of the array that a chip sends, in a ring of n chips.
_SENT = {
    "all-reduce": lambda n: 2 * (n - 1) / n,
    "all-gather": lambda n: (n - 1) / n,
    "reduce-scatter": lambda n: (n - 1) / n,
    "all-to-all": lambda n: (n - 1) / n,
    "collective-permute": lambda n: 1.0,
}

KINDS = tuple(_SENT)

_CHANNEL = re.compile(r"\bchannel_id=(\d+)")


@dataclasses.dataclass(frozen=True)
class Collective:
    """A collective operation.

    Attributes:
        kind: One of `KINDS`.
        axes: Mesh axes that it runs along.
        group_size: Chips of a group.
        num_bytes: Bytes of the array on a chip; of an all-gather its result, of a reduce-scatter
            its operand.
        times: How often it runs in a step.
    """

    kind: str
    axes: tuple[str, ...]
    group_size: int
    num_bytes: int
    times: int

    @property
    def sent(self) -> float:
        """Bytes that a chip sends in a step, with a ring algorithm."""
        return self.times * self.num_bytes * _SENT[self.kind](self.group_size)


def find_collectives(program: Program, mesh_shape: Mapping[str, int]) -> list[Collective]:
    """The collectives between more than one chip, in the order of the program.

    An asynchronous operation, which starts and ends separately, counts once. So does one that a TPU
    program repeats with the same channel in several fusions, to overlap it with other work. An
    all-reduce in a fusion of which each chip keeps a part counts as a reduce-scatter.
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
        groups = parse_groups(instruction.text, math.prod(mesh_shape.values()))
        size = groups.shape[1]
        if size == 1 or not len(groups):
            continue
        num_bytes = sum(array.num_bytes for array in instruction.written)
        if fused and kind == "all-reduce" and "all-reduce-scatter" in computation:
            kind = "reduce-scatter"
        elif kind == "reduce-scatter":
            num_bytes *= size
        found.append(Collective(kind, _axes(groups, mesh_shape), size, num_bytes, times))
    return found


def summarise(
    collectives: list[Collective],
) -> dict[tuple[str, tuple[str, ...]], tuple[int, int, float]]:
    """Sums by kind and axes: runs in a step, bytes of the arrays, bytes that a chip sends."""
    found: dict[tuple[str, tuple[str, ...]], tuple[int, int, float]] = {}
    for one in sorted(collectives, key=lambda one: (KINDS.index(one.kind), one.axes)):
        times, num_bytes, sent = found.get((one.kind, one.axes), (0, 0, 0.0))
        num_bytes += one.times * one.num_bytes
        found[one.kind, one.axes] = (times + one.times, num_bytes, sent + one.sent)
    return found


def parse_groups(text: str, num_devices: int) -> Int[np.ndarray, "groups size"]:
    """Reads the groups of devices in the text of an instruction's attributes.

    XLA writes them as a list `{{0,1},{2,3}}`, a reshaped iota `[2,2]<=[2,2]T(1,0)`, mesh axes
    `mesh['a'=2,'b'=2] {'a'}`, or source-target pairs.
    """
    pairs = re.search(r"source_target_pairs=\{(.*?\})?\}", text)
    if pairs:
        return np.array(_lists(pairs[1] or ""), int).reshape(-1, 2)
    listed = re.search(r"replica_groups=\{(.*?\})?\}", text)
    if listed:
        return np.array(_lists(listed[1] or "") or [list(range(num_devices))], int)
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
    # 'a' is the whole axis; 'a':(n)m is its part of size m inside the first part, of size n.
    parts = {
        name: (int(before or 1), int(size or sizes[name]))
        for name, before, size in re.findall(r"'(\w+)'(?::\((\d+)\)(\d+))?", mesh[3])
    }
    shape: list[int] = []
    inside = []
    for name, size in sizes.items():
        before, part = parts.get(name, (size, 1))
        if name in parts:
            inside.append(len(shape) + 1)
        shape += [before, part, size // (before * part)]
    group_size = math.prod(shape[axis] for axis in inside)
    last = range(len(shape) - len(inside), len(shape))
    return np.moveaxis(ids.reshape(shape), inside, last).reshape(-1, group_size)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _lists(text: str) -> list[list[int]]:
    return [_numbers(group) for group in re.findall(r"\{([\d,]+)\}", text)]


def _sequence(text: str) -> Int[np.ndarray, " n"]:
    """`[4,2]T(1,0)`: 0, 1, … in this shape, transposed, flattened."""
    shape, _, order = text.partition("T")
    sizes = _numbers(shape.strip("[]"))
    ids = np.arange(np.prod(sizes)).reshape(sizes)
    return (ids.transpose(_numbers(order.strip("()"))) if order else ids).reshape(-1)


def _axes(groups: Int[np.ndarray, "groups size"], mesh_shape: Mapping[str, int]) -> tuple[str, ...]:
    places = np.stack(np.unravel_index(groups, tuple(mesh_shape.values())))
    varies = (places != places[:, :, :1]).any(axis=(1, 2))
    return tuple(axis for axis, used in zip(mesh_shape, varies, strict=True) if used)
