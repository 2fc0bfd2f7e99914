"""Timing several things side by side, and tables of the result."""

import datetime
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def timed(
    function: Callable[[], Any], clock: Callable[[], float] = time.process_time
) -> Callable[[], float]:
    """Makes a function that runs another and returns the seconds it took.

    Args:
        function: One that works on an accelerator waits for it.
        clock: CPU time of all threads of this process, or another clock in seconds.
    """

    def run() -> float:
        start = clock()
        function()
        return clock() - start

    return run


def interleaved_medians(
    functions: Mapping[str, Callable[[], float]], rounds: int
) -> dict[str, float]:
    """Measures things in turns, so that whatever else the machine does hits all of them alike.

    Args:
        functions: By name; each returns the seconds it took, as those of `timed` do.
        rounds: How often; one more, which is not counted, comes first.

    Returns:
        Median seconds by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(1 + rounds):
        for name, function in functions.items():
            seconds[name].append(function())
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    rule = ["---"] + ["--:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def when_and_where(device: str | None = None) -> str:
    """The date and the machine in plain words.

    Args:
        device: Kind of the accelerator, if one took part.
    """
    processor = f"{os.cpu_count()} CPU cores, {platform.machine().replace('_', '-')}"
    machine = f"{processor}, {device}" if device else processor
    return f"{datetime.date.today().isoformat()}, on {machine}."
