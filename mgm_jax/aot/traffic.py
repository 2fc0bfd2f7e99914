"""Bytes that a compiled program moves to and from a chip's memory, by operation and part."""

import collections
import math
import re

from mgm_jax.aot.hlo import Array, Instruction, Program

PARTS = {
    "optimizer": r"optimizer|opt_state",
    "decoder attention": r"decoder.*attention",
    "encoder attention": r"attention",
    "MLPs": r"mlp",
    "norms": r"norm",
    "embedding": r"embed|positions|mask_token|encoder_to_decoder",
    "head and loss": r"head|loss",
    "other": r"encoder|decoder|state\.",
    "input": "",
}
"""Parts of a step: the first whose pattern is found in the name of an operation."""

_OPERATIONS = {"copy-start": "prefetch", "slice-start": "prefetch", "custom-call": "kernel"}

# Instructions that move nothing.
_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call"),
    *("conditional", "after-all", "partition-id", "replica-id", "opt-barrier", "iota"),
}


def count_bytes(program: Program) -> dict[tuple[str, str], float]:
    """Counts the bytes that one device reads from main memory and writes to it.

    They are given by part of the step (`PARTS`) and operation: an HLO opcode, "prefetch" into
    on-chip memory or its way back, or "kernel".

    Each instruction, or fusion as a whole, reads its operands and writes its result. On-chip arrays
    do not count; of an array that is sliced or updated in part, only the part counts. Loops count
    as often as they run, unlike in `jax.stages.Compiled.cost_analysis`.
    """
    found: dict[tuple[str, str], float] = collections.defaultdict(float)
    for computation, instruction, times, fused in program.executed():
        if fused or instruction.opcode in _FREE or instruction.opcode.endswith("-done"):
            continue
        known = program.instructions[computation]
        operands = [known[name] for name in instruction.operands if name in known]
        operation = _OPERATIONS.get(instruction.opcode, instruction.opcode.removesuffix("-start"))
        name = _name(instruction, known)
        part = next(part for part, pattern in PARTS.items() if re.search(pattern, name))
        found[part, operation] += times * _moved(program, instruction, operands)
    return found


def _name(instruction: Instruction, known: dict[str, Instruction]) -> str:
    """The name that JAX gave to an operation, or what an unnamed one moves: its first operand."""
    named = re.search(r'op_name="([^"]+)"', instruction.text)
    if named:
        return named[1]
    first = known.get(instruction.operands[0]) if instruction.operands else None
    return _name(first, known) if first else ""


def _moved(program: Program, instruction: Instruction, operands: list[Instruction]) -> float:
    opcode, arrays = instruction.opcode.removesuffix("-start"), instruction.written
    written = _in_memory(arrays)
    if opcode in ("slice", "dynamic-slice", "gather"):
        read = min(_in_memory(operands[0].arrays), sum(array.num_bytes for array in arrays))
        return written + read
    if opcode == "dynamic-update-slice":
        return 2 * _in_memory(operands[1].arrays)
    if opcode != "fusion":
        return written + sum(_in_memory(operand.arrays) for operand in operands)
    body = program.computations[instruction.called[0]]
    moved = min(written, _written_inside(body))
    for number, operand in enumerate(operands):
        moved += min(_in_memory(operand.arrays), _read_inside(body, number))
    return moved


def _in_memory(arrays: tuple[Array, ...]) -> float:
    return sum(array.num_bytes for array in arrays if array.memory_space == 0)


def _read_inside(body: tuple[Instruction, ...], number: int) -> float:
    """Bytes that a fusion reads of one of its parameters, at most."""
    users: dict[str, list[Instruction]] = {}
    for instruction in body:
        for name in instruction.operands:
            users.setdefault(name, []).append(instruction)

    def read(name: str) -> float:
        total = 0.0
        for user in users.get(name, []):
            if user.opcode == "bitcast":
                total += read(user.name)
            elif user.opcode in ("dynamic-slice", "slice", "gather") and user.operands[0] == name:
                total += sum(array.num_bytes for array in user.arrays)
            elif user.opcode != "dynamic-update-slice" or user.operands[0] != name:
                return math.inf  # An array updated in place is not read.
        return total

    parameter = next(
        i.name for i in body if i.opcode == "parameter" and i.literal.strip() == str(number)
    )
    return read(parameter)


def _written_inside(body: tuple[Instruction, ...]) -> float:
    """Bytes that a fusion writes, at most; of an array updated in place, the update."""
    by_name = {instruction.name: instruction for instruction in body}

    def written(instruction: Instruction) -> float:
        if instruction.opcode == "tuple":
            return sum((written(by_name[name]) for name in instruction.operands), start=0.0)
        if instruction.opcode == "bitcast":
            return written(by_name[instruction.operands[0]])
        if instruction.opcode == "dynamic-update-slice":
            return sum(array.num_bytes for array in by_name[instruction.operands[1]].arrays)
        return sum(array.num_bytes for array in instruction.arrays)

    return written(next(instruction for instruction in body if instruction.is_root))
