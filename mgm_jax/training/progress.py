"""How far a run is and how fast: a progress bar on a terminal, lines of the log elsewhere."""

import contextlib
import datetime
import io
import sys
import time
from collections.abc import Iterator, Mapping

import jax
from absl import logging
from tqdm import tqdm


class Throughput:
    """Clips per second, and the time spent waiting for data.

    The time of the first step, in which the program is compiled and data workers start, is left
    out.
    """

    def __init__(self, batch_size: int):
        """Starts the clock; `batch_size` is the number of clips per step."""
        self._batch_size, self._first = batch_size, True
        self._restart()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time in this context as waiting for data."""
        start = time.monotonic()
        yield
        self._waited += time.monotonic() - start

    @contextlib.contextmanager
    def pausing(self) -> Iterator[None]:
        """Leaves the time in this context out of the rates."""
        start = time.monotonic()
        yield
        self._start += time.monotonic() - start

    def report(self, steps: int) -> dict[str, float]:
        """The rates of the steps since the last report; `data/wait` is a fraction of time.

        Empty when called first, which must be after the first step.
        """
        elapsed = time.monotonic() - self._start
        report = {
            "train/clips_per_second": steps * self._batch_size / elapsed,
            "data/wait": self._waited / elapsed,
        }
        first, self._first = self._first, False
        self._restart()
        return {} if first else report

    def seconds_for(self, steps: int, clips_per_second: float) -> float:
        """How long a number of steps takes at such a rate."""
        return steps * self._batch_size / clips_per_second

    def _restart(self) -> None:
        self._start, self._waited = time.monotonic(), 0.0


class Progress:
    """Shows the steps of a run up to its last; the log's other lines appear above the bar."""

    def __init__(self, throughput: Throughput, *, done: int, last: int):
        """Begins after step `done`. Only the first process, on a terminal, shows a bar."""
        self._throughput, self._last = throughput, last
        self._bar: tqdm | None = None
        if jax.process_index() == 0 and sys.stderr.isatty():
            self._handler = logging.get_absl_handler().python_handler
            self._stream, self._handler.stream = self._handler.stream, _AboveBar()
            self._bar = tqdm(
                total=last,
                initial=done,
                desc="compiling",
                bar_format="step {n}/{total} {percentage:3.0f}%|{bar}| {desc}",
                file=sys.stderr,
                dynamic_ncols=True,
            )

    def advance(self) -> None:
        """Counts a step."""
        if self._bar is not None:
            self._bar.update()

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Shows the metrics of the last steps, named as in `metrics.jsonl`."""
        shown = [f"loss {values['train/loss']:.4f}", f"lr {values['train/learning_rate']:.2e}"]
        if "train/clips_per_second" in values:
            rate = values["train/clips_per_second"]
            left = round(self._throughput.seconds_for(self._last - step, rate))
            shown += [f"{rate:.1f} clips/s", f"waiting {100 * values['data/wait']:.0f}%"]
            shown.append(f"ETA {datetime.timedelta(seconds=left)}")
        if values["data/skipped_clips"]:
            shown.append(f"skipped {values['data/skipped_clips']:.0f}")
        if self._bar is not None:
            self._bar.set_description_str("  ".join(shown))
        else:
            epoch = f"epoch {values['train/epoch']:.1f}"
            logging.info("step %d/%d  %s", step, self._last, "  ".join([epoch, *shown]))

    def close(self) -> None:
        """Leaves the bar as it is, and lets the log go on below it."""
        if self._bar is not None:
            self._bar.close()
            self._handler.stream = self._stream


class _AboveBar(io.TextIOBase):
    """Writes to the terminal above the bar."""

    def write(self, text: str) -> int:
        tqdm.write(text, file=sys.stderr, end="")
        return len(text)
