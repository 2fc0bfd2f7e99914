"""Damages small videos of every container and codec at random, and reads them as training does.

    python -m tests.fuzz --mutants=10000 --seed=0 --jobs=2

A mutant is a real file with flipped bits, missing or zeroed parts, or extreme values in its boxes
and tables. It must be read, or refused by a message that begins with its name, within a limit of
memory and of processor time; and an mp4 must give the same clips by its tables and by FFmpeg's
demultiplexer. A mutant depends on the seed and its number alone (`make_mutant`); `--only=NUMBER`
reads one again.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import re
import resource
import signal
import sys
import tempfile
from collections.abc import Iterable, Sequence
from unittest import mock

import numpy as np

from mgm_jax.data.clip_reader import ReadSpec
from mgm_jax.data.clips import LoadClip, error_message
from mgm_jax.data.records import UNLABELLED, VideoRecord
from mgm_jax.data.video import mp4
from tests import encoded
from tests.one_video import OneVideo

FILES = {
    "h264.mp4": ("libx264", "mp4", {"options": encoded.B_FRAMES}),
    "h264_low_delay.mp4": ("libx264", "mp4", {}),
    "h264.mov": ("libx264", "mov", {"options": encoded.B_FRAMES}),
    "h264.mkv": ("libx264", "matroska", {"options": encoded.B_FRAMES}),
    "h264.ts": ("libx264", "mpegts", {"options": encoded.B_FRAMES}),
    "h264.flv": ("libx264", "flv", {"options": encoded.B_FRAMES}),
    "h264.avi": ("libx264", "avi", {"options": encoded.B_FRAMES}),
    "hevc.mp4": ("libx265", "mp4", {"options": {"x265-params": "log-level=none:keyint=12"}}),
    "hevc.ts": ("libx265", "mpegts", {"options": {"x265-params": "log-level=none:keyint=12"}}),
    "mpeg4.avi": ("mpeg4", "avi", {"b_frames": 2}),
    "mpeg4.3gp": ("mpeg4", "3gp", {}),
    "mpeg2.mpg": ("mpeg2video", "mpeg", {"b_frames": 2}),
    "mpeg2.ts": ("mpeg2video", "mpegts", {}),
    "mpeg1.mpg": ("mpeg1video", "mpeg", {}),
    "vp8.webm": ("libvpx", "webm", {}),
    "vp8.ogg": ("libvpx", "ogg", {}),
    "vp9.webm": ("libvpx-vp9", "webm", {}),
    "av1.mp4": ("libsvtav1", "mp4", {}),
    "mjpeg.avi": ("mjpeg", "avi", {"pix_fmt": "yuvj420p"}),
    "ffv1.mkv": ("ffv1", "matroska", {}),
    "flv1.flv": ("flv", "flv", {}),
    "wmv2.asf": ("wmv2", "asf", {}),
}
"""Encoder, container and settings of each file that is damaged."""

FAULTS = ("unnamed error", "paths differ", "out of time", "crash")
"""Outcomes that must not be."""

_SECONDS = 20.0  # Of processor time, for one mutant.
_WALL_SECONDS = 300.0
_BYTES = 1 << 30  # More than the process has at its start.
_SPEC = ReadSpec(clip_frames=6, stride=2, size=64, host_crop_size=64)
_BOXES = re.compile(rb"moov|trak|mdia|minf|stbl|mvhd|tkhd|mdhd|hdlr|edts|stsd|avcC|hvcC|dinf|dref")
_TABLES = re.compile(rb"stts|ctts|stss|stsz|stsc|stco|elst|mdhd|mvhd|avc1|hev1|av01")
_EXTREMES = (0, 1, 2, 7, 8, 255, 65535, 2**20, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a mutant; `kind` is a member of `FAULTS`, or a fine outcome."""

    number: int
    file: str
    kind: str
    message: str = ""


def make_files() -> dict[str, bytes]:
    """The undamaged files, by name."""
    frames = encoded.moving_square(24, height=96, width=112)
    made = {}
    for name, (codec, container, settings) in FILES.items():
        gop = {} if "options" in settings else {"gop": 12}
        made[name] = encoded.encode(frames, codec, container, **{**gop, **settings})
    return made


def make_mutant(files: dict[str, bytes], seed: int, number: int) -> tuple[str, bytes]:
    """Name and bytes of a mutant."""
    name = list(files)[number % len(files)]
    rng = np.random.default_rng([seed, number])
    data = bytearray(files[name])
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        if data:
            rng.choice([_flip, _cut, _zero, _overwrite])(data, rng)
    return name, bytes(data)


def _flip(data: bytearray, rng: np.random.Generator) -> None:
    """Bits anywhere, at the beginning, where headers are, or at the end, where indices may be."""
    end = min(len(data), 1000)
    low, high = [(0, len(data)), (0, end), (-end, 0)][rng.integers(3)]
    for place in rng.integers(low, high, rng.choice([1, 3, 20])):
        data[place] ^= 1 << rng.integers(8)


def _range(data: bytearray, rng: np.random.Generator) -> slice:
    start = int(rng.integers(len(data)))
    return slice(start, start + int(rng.choice([1, 4, 30, 200, 2000])))


def _cut(data: bytearray, rng: np.random.Generator) -> None:
    del data[_range(data, rng) if rng.random() < 0.5 else slice(int(rng.integers(len(data))), None)]


def _zero(data: bytearray, rng: np.random.Generator) -> None:
    place = _range(data, rng)
    data[place] = bytes(len(data[place]))


def _overwrite(data: bytearray, rng: np.random.Generator) -> None:
    """Puts an extreme number into a box's size or a table; anywhere in the header without them."""
    sizes = [match.start() - 4 for match in _BOXES.finditer(data)]
    entries = [match.end() + 4 * int(rng.integers(20)) for match in _TABLES.finditer(data)]
    places = sizes if rng.random() < 0.5 else entries
    place = int(rng.choice(places or range(min(len(data), 2000))))
    number = int(rng.choice(_EXTREMES))
    order = "big" if places or rng.random() < 0.5 else "little"
    data[place : place + 4] = number.to_bytes(4, order)


def read(path: str, seed: int) -> tuple[str, str]:
    """Outcome and message of reading a random clip of a file as training does."""

    def load() -> dict[str, np.ndarray]:
        source = OneVideo(VideoRecord(path, path, UNLABELLED), path)
        return LoadClip(source, _SPEC).random_map((0, 0), np.random.default_rng(seed))

    clip = load()
    message = error_message(clip["error"][0])
    if message and not message.startswith((path, repr(path))):
        return "unnamed error", message
    with open(path, "rb") as file:
        is_mp4 = file.read(8)[4:] == b"ftyp"
    if is_mp4:
        with mock.patch.object(mp4, "_read_movie", return_value=None):
            other = load()
        differing = [n for n in clip if n != "error" and not np.array_equal(clip[n], other[n])]
        if differing:
            texts = f"{message or 'read'} / {error_message(other['error'][0]) or 'read'}"
            return "paths differ", f"in {', '.join(differing)}: {texts}"
    return "refused" if message else "read", message


def _serve(
    connection: multiprocessing.connection.Connection,
    files: dict[str, bytes],
    seed: int,
    numbers: Sequence[int],
    seconds: float,
) -> None:
    """Reads mutants in a process that ends where a limit is exceeded."""
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + _BYTES, size + _BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            name, data = make_mutant(files, seed, number)
            path = os.path.join(folder, name)
            pathlib.Path(path).write_bytes(data)
            signal.setitimer(signal.ITIMER_PROF, seconds)  # Its signal ends the process.
            kind, message = read(path, number)
            signal.setitimer(signal.ITIMER_PROF, 0)
            connection.send((number, kind, message.replace(folder, "")))


def _run(
    files: dict[str, bytes], seed: int, numbers: Sequence[int], seconds: float
) -> list[Outcome]:
    """Reads mutants in child processes, one after the other; a new one where one has ended."""
    context, names, outcomes = multiprocessing.get_context("spawn"), list(files), []
    left = collections.deque(numbers)
    while left:
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=_serve, args=(sender, files, seed, list(left), seconds))
        child.start()
        sender.close()
        while left:
            number = left.popleft()
            file = names[number % len(names)]
            try:
                if not receiver.poll(_WALL_SECONDS):
                    raise EOFError
                outcomes.append(Outcome(number, file, *receiver.recv()[1:]))
            except EOFError:
                child.join(1)
                in_time = child.exitcode is not None and child.exitcode != -signal.SIGPROF
                kind = "crash" if in_time else "out of time"
                outcomes.append(Outcome(number, file, kind, f"exit code {child.exitcode}"))
                break
        child.kill()
        child.join()
    return outcomes


def run(
    numbers: Iterable[int], seed: int, jobs: int = 1, seconds: float = _SECONDS
) -> list[Outcome]:
    """Reads mutants in `jobs` processes; returns the outcomes in order."""
    files = make_files()
    every = list(numbers)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        parts = pool.map(lambda job: _run(files, seed, every[job::jobs], seconds), range(jobs))
        outcomes = [outcome for part in parts for outcome in part]
    return sorted(outcomes, key=lambda outcome: outcome.number)


def summary(outcomes: Sequence[Outcome]) -> str:
    """A line for each file: how often each outcome came."""
    lines = []
    for name in (*FILES, "all"):
        counts = collections.Counter(o.kind for o in outcomes if name in (o.file, "all"))
        said = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
        lines.append(f"{name:20}{said}")
    return "\n".join(lines)


def main() -> None:
    """Runs the command; exit code 1 if there was a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", type=int, nargs="*", help="numbers of mutants")
    arguments = parser.parse_args()
    numbers = arguments.only or range(arguments.mutants)
    outcomes = run(numbers, arguments.seed, arguments.jobs)
    print(summary(outcomes))
    faults = [outcome for outcome in outcomes if outcome.kind in FAULTS]
    for fault in outcomes if arguments.only else faults:
        print(f"{fault.number} {fault.file}: {fault.kind}: {fault.message}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
