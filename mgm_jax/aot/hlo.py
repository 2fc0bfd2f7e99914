"""Reads the text of a compiled program: its instructions, their sizes, how often they run."""

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
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")


@dataclasses.dataclass(frozen=True)
class Array:
    """One array of an instruction's result.

    Attributes:
        num_bytes: Its size, with the padding to whole tiles that its layout asks for.
        memory_space: 0 is the main memory; others are on the chip.
    """

    num_bytes: int
    memory_space: int = 0


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        name: Its name, without the percent sign.
        opcode: Such as "fusion".
        arrays: Of its result, in order.
        operands: Names of its operands.
        text: The line after the operands: its attributes.
        called: Computations that it calls, but for a loop's condition.
        literal: What stands in the parentheses.
        is_root: Whether its result is the computation's.
    """

    name: str
    opcode: str
    arrays: tuple[Array, ...]
    operands: tuple[str, ...]
    text: str
    called: tuple[str, ...]
    literal: str
    is_root: bool


@dataclasses.dataclass(frozen=True)
class Program:
    """A program.

    Attributes:
        computations: Instructions of each computation by name.
        entry: Name of the computation that runs.
    """

    computations: Mapping[str, tuple[Instruction, ...]]
    entry: str

    @functools.cached_property
    def instructions(self) -> dict[str, dict[str, Instruction]]:
        """Instructions by computation and name."""
        return {
            name: {instruction.name: instruction for instruction in body}
            for name, body in self.computations.items()
        }

    @functools.cached_property
    def unknown_loops(self) -> tuple[str, ...]:
        """Loops of which it is not known how often they run; they are counted once."""
        return tuple(
            instruction.name
            for body in self.computations.values()
            for instruction in body
            if instruction.opcode == "while" and self.trip_count(instruction) is None
        )

    def trip_count(self, loop: Instruction) -> int | None:
        """How often a loop runs: as the compiler says, or by the bound of its counter from 0."""
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
        """All instructions that run.

        Yields:
            (computation, instruction, how often it runs, whether it is inside a fusion).
        """
        yield from self._executed(self.entry, 1, False)

    def _executed(
        self, computation: str, times: int, fused: bool
    ) -> Iterator[tuple[str, Instruction, int, bool]]:
        for instruction in self.computations[computation]:
            yield computation, instruction, times, fused
            inner = times
            if instruction.opcode == "while":
                inner *= self.trip_count(instruction) or 1
            # A reduction's function runs per element and says nothing of memory or network.
            if instruction.opcode in ("while", "call", "conditional", "fusion", "async-start"):
                for called in instruction.called:
                    yield from self._executed(
                        called, inner, fused or instruction.opcode == "fusion"
                    )


def parse(text: str) -> Program:
    """Reads the text that `jax.stages.Compiled.as_text` gives."""
    computations: dict[str, list[Instruction]] = {}
    entry, current = "", []
    for line in text.splitlines():
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
    """The place after the parenthesis that closes the one at `start`."""
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
    # Kinds not in the table are floats of a byte, as f8e4m3fn.
    num_bytes = math.prod(sizes) * _BYTES.get(kind, 1)
    space = re.search(r"S\((\d+)\)", layout)
    return Array(math.ceil(num_bytes), int(space[1]) if space else 0)
