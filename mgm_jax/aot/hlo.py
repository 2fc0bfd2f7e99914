"""Parses the HLO text of a compiled program: instructions, array sizes, trip counts."""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator, Mapping

_BYTES = {"pred": 1, "token": 0, "opaque": 0} | {
    f"{kind}{bits}": bits / 8
    for kind, widths in {"s": (2, 4, 8, 16, 32, 64), "f": (16, 32, 64), "c": (64, 128)}.items()
    for bits in widths
}
_BYTES |= {f"u{bits}": bits / 8 for bits in (2, 4, 8, 16, 32, 64)} | {"bf16": 2}

_SHAPE = re.compile(r"\b([a-z]+\d*(?:e\d+m\d+\w*)?)\[([\d,<=]*)\](?:\{([^{}]*)\})?")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$")
_OPCODE = re.compile(r" ([a-z][a-z0-9\-]*)\(")
_CALLED = re.compile(r"\b(?:calls|body|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
_KERNEL_METADATA = re.compile(r"kernel_metadata=\{\n.*\n\}")  # Holds line breaks.
_LIBRARY_CALL = re.compile(r'custom_call_target="__cu(blas|dnn)\$')
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")


@dataclasses.dataclass(frozen=True)
class Array:
    """An array of an instruction's result.

    Attributes:
        num_bytes: Size, padded to whole tiles of its layout.
        memory_space: 0 is main memory (HBM); others are on-chip.
    """

    num_bytes: int
    memory_space: int = 0


@dataclasses.dataclass(frozen=True)
class Instruction:
    """An HLO instruction, such as `ROOT %name = f32[8] opcode(%operand, ...), attributes`.

    Attributes:
        arrays: Its result.
        operands: Names of its operands.
        text: Its attributes.
        called: Computations that it calls, except a loop's condition.
        literal: The text in the parentheses.
        is_root: Whether its result is that of its computation.
    """

    name: str
    opcode: str
    arrays: tuple[Array, ...]
    operands: tuple[str, ...]
    text: str
    called: tuple[str, ...]
    literal: str
    is_root: bool

    @property
    def written(self) -> tuple[Array, ...]:
        """The arrays that it writes, without what an asynchronous start lists of its operands."""
        if self.opcode == "custom-call" and _LIBRARY_CALL.search(self.text):
            return self.arrays[:-1]  # The last is the library's workspace.
        if self.opcode in ("all-gather-start", "reduce-scatter-start"):
            return self.arrays[len(self.arrays) // 2 :]
        if self.opcode == "collective-permute-start":
            return self.arrays[1:2]
        if self.opcode == "copy-start":
            return self.arrays[:1]
        if self.opcode in ("slice-start", "dynamic-slice-start"):
            return self.arrays[-2:-1]
        return self.arrays


@dataclasses.dataclass(frozen=True)
class Program:
    """Instructions of each computation by name, and the name of the entry computation."""

    computations: Mapping[str, tuple[Instruction, ...]]
    entry: str

    @functools.cached_property
    def instructions(self) -> dict[str, dict[str, Instruction]]:
        """Instructions by name, by computation."""
        return {
            name: {instruction.name: instruction for instruction in body}
            for name, body in self.computations.items()
        }

    @functools.cached_property
    def unknown_loops(self) -> tuple[str, ...]:
        """Names of loops of unknown trip count; they are counted once."""
        return tuple(
            instruction.name
            for body in self.computations.values()
            for instruction in body
            if instruction.opcode == "while" and self.trip_count(instruction) is None
        )

    def trip_count(self, loop: Instruction) -> int | None:
        """The compiler's trip count of a loop, or the bound of its counter; None if unknown."""
        known = re.search(r'known_trip_count"?:?=?\{"?n"?[:=]"?(\d+)', loop.text)
        if known:
            return int(known[1])
        condition = re.search(r"\bcondition=%?([\w.\-]+)", loop.text)
        body = self.computations.get(condition[1], ()) if condition else ()
        bounds = {i.name: i.literal for i in body if i.opcode == "constant"}
        for instruction in body:
            if instruction.opcode == "compare" and "direction=LT" in instruction.text:
                bound = bounds.get(instruction.operands[1], "")
                return int(bound) if bound.isdigit() else None
        return None

    def executed(self) -> Iterator[tuple[str, Instruction, int, bool]]:
        """Instructions that run: (computation, instruction, times, whether inside a fusion)."""
        yield from self._executed(self.entry, 1, False)

    def _executed(
        self, computation: str, times: int, fused: bool
    ) -> Iterator[tuple[str, Instruction, int, bool]]:
        for instruction in self.computations[computation]:
            yield computation, instruction, times, fused
            inner = times
            if instruction.opcode == "while":
                inner *= self.trip_count(instruction) or 1
            # Other computations, such as a reduction's function, run for each element.
            if instruction.opcode in ("while", "call", "conditional", "fusion", "async-start"):
                for called in instruction.called:
                    yield from self._executed(
                        called, inner, fused or instruction.opcode == "fusion"
                    )


def parse(text: str) -> Program:
    """Parses the text of `jax.stages.Compiled.as_text`."""
    computations: dict[str, list[Instruction]] = {}
    entry, current = "", []
    for line in _KERNEL_METADATA.sub("", text).splitlines():
        begins = _COMPUTATION.match(line)
        if begins:
            current = computations.setdefault(begins[2], [])
            entry = begins[2] if begins[1] else entry
            continue
        found = _INSTRUCTION.match(line)
        if found:
            current.append(_parse_instruction(found[2], found[3], bool(found[1])))
    return Program({name: tuple(body) for name, body in computations.items()}, entry)


def _parse_instruction(name: str, line: str, is_root: bool) -> Instruction:
    end_of_type = _closing(line, 0) if line.startswith("(") else 0
    opcode = _OPCODE.search(line, end_of_type)
    if opcode is None:
        raise ValueError(f"not an instruction: {name} = {line[:200]}")
    end = _closing(line, opcode.end() - 1)
    literal, text = line[opcode.end() : end - 1], line[end:]
    branches = _BRANCHES.search(text)
    called = _CALLED.findall(text)
    if branches:
        called += re.findall(r"[\w.\-]+", branches[1])
    return Instruction(
        name,
        opcode[1],
        tuple(_parse_array(*shape) for shape in _SHAPE.findall(line[: opcode.start()])),
        tuple(re.findall(r"%([\w.\-]+)", literal)),
        text,
        tuple(called),
        literal,
        is_root,
    )


def _closing(text: str, start: int) -> int:
    """Position after the parenthesis that closes the one at `start`."""
    depth = 0
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place + 1
    raise ValueError(f"no closing parenthesis in {text[start : start + 200]}")


def _parse_array(kind: str, shape: str, layout: str) -> Array:
    sizes = [int(size.lstrip("<=")) for size in shape.split(",") if size]
    order, _, tiling = layout.partition(":")
    tile = re.match(r"T\(([\d,]+)\)", tiling)
    if tile and sizes:
        minor_first = [int(axis) for axis in order.split(",")]
        for axis, unit in zip(minor_first, reversed(tile[1].split(",")), strict=False):
            sizes[axis] = math.ceil(sizes[axis] / int(unit)) * int(unit)
    # Types not in the table are one-byte floats such as f8e4m3fn.
    num_bytes = math.prod(sizes) * _BYTES.get(kind, 1)
    space = re.search(r"S\((\d+)\)", layout)
    return Array(math.ceil(num_bytes), int(space[1]) if space else 0)
