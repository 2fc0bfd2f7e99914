"""Timing several functions side by side, and tables of the results."""

import datetime
import os
import platform
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

_Name = TypeVar("_Name", bound=Hashable)


def interleaved_medians(
    functions: Mapping[_Name, Callable[[], float]], rounds: int
) -> dict[_Name, float]:
    """Runs functions in turns, so that other load on the machine affects all of them alike.

    Args:
        functions: By name; each returns the seconds that it took.
        rounds: Counted rounds; one more, for warming up, comes first.

    Returns:
        Median seconds by name.
    """
    seconds: dict[_Name, list[float]] = {name: [] for name in functions}
    for _ in range(1 + rounds):
        for name, function in functions.items():
            seconds[name].append(function())
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], device: str = "") -> None:
    """Prints the date, the machine and a Markdown table, text on the left, numbers on the right."""
    machine = f"{os.cpu_count()} CPU cores ({platform.machine()})"
    print(f"{datetime.date.today()}, {machine}{device and ', '}{device}\n")
    rule = ["---", *["--:"] * (len(header) - 1)]
    for cells in (header, rule, *rows):
        print(f"| {' | '.join(cells)} |")


def median_seconds(function: Callable[[], Any], rounds: int = 10) -> float:
    """Median over the calls of a function that computes on a device, after one more."""
    import jax

    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])
