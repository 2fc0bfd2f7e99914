"""How far a long piece of work is, and how long it will take."""

import sys
import time

from absl import logging

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_BARS = 0.5
_BAR_WIDTH = 30


def duration(seconds: float) -> str:
    """A duration for people: 45 s, 12 min, 3 h 20 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def size(num_bytes: float) -> str:
    """An amount of data for people: 12.3 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.4g} TB"


class Progress:
    """Tells of progress: a bar on a terminal, else a line in the log every ten seconds.

    Args:
        what: What is counted, in the plural.
        count: How many there are to do.
        weight: Their weights together; the time left goes by weight.
    """

    def __init__(self, what: str, count: int, weight: float) -> None:
        self._what, self._count, self._weight = what, count, weight
        self._done, self._weight_done = 0, 0.0
        self._start = self._told = time.monotonic()
        self._bar = sys.stderr.isatty()

    def add(self, weight: float) -> None:
        """One more is done."""
        self._done += 1
        self._weight_done += weight
        now = time.monotonic()
        if now - self._told >= (_SECONDS_BETWEEN_BARS if self._bar else _SECONDS_BETWEEN_LINES):
            self._told = now
            self._tell(now - self._start)

    def _tell(self, seconds: float) -> None:
        share = self._weight_done / self._weight if self._weight else 1.0
        left = seconds * (1 - share) / share if share else float("inf")
        text = (
            f"{self._done}/{self._count} {self._what}, {self._done / seconds:.1f} a second, "
            f"{duration(left) if share else 'unknown time'} left"
        )
        if self._bar:
            full = round(share * _BAR_WIDTH)
            sys.stderr.write(f"\r[{'#' * full}{'.' * (_BAR_WIDTH - full)}] {text}\x1b[K")
            sys.stderr.flush()
        else:
            logging.info("%s", text)

    def close(self) -> None:
        """Ends the bar."""
        if self._bar:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
