"""CPU time to read a training clip, beside bare libavcodec, decord and torchcodec.

    python -m benchmarks.input_pipeline --videos=FILE_OR_FOLDER [--videos=...]

Prepares the videos with `data_prep.prepare` under both profiles. All readers read the same random
clips for pretraining (stride 4, 224 pixels) from the same file, with one decoding thread, in turns.
Times are CPU milliseconds per clip, means over videos of medians over rounds. `mgm_jax` gives
planes and motion ready for the device; decord and torchcodec give RGB without motion.
"""

import collections
import functools
import itertools
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from absl import flags

from benchmarks import clip_decoders
from benchmarks.timing import interleaved_medians, print_table
from mgm_jax import base_config
from mgm_jax.data.clips import LoadClip
from mgm_jax.data.records import RecordSource, VideoSource
from mgm_jax.data.sources import FolderSource, find_videos
from mgm_jax.data.workers import keep_freed_memory
from mgm_jax.errors import VideoError
from mgm_jax.program import run_program

DOWNLOADED, LOW_DELAY, STRIDE_ALIGNED = "as downloaded", "low_delay", "stride_aligned"
OURS, WITHOUT_MOTION = "mgm_jax", "mgm_jax, without motion"
LIBAVCODEC, DECORD, TORCHCODEC = "libavcodec", "decord", "torchcodec"

Times = Mapping[tuple[str, str], float]
"""Seconds per clip by (version of the file, reader)."""


def choose_videos(named: Sequence[str], most: int) -> list[pathlib.Path]:
    """The named video files, and `most` of each named folder, evenly spread over the sorted paths.

    Raises:
        ConfigError: There is none.
    """
    found: list[pathlib.Path] = []
    for name in named:
        root = pathlib.Path(name).absolute()
        below = [root] if root.is_file() else find_videos(root, "--videos")
        videos = sorted(root / path for path in below)
        count = min(most, len(videos))
        found += [videos[number * len(videos) // count] for number in range(count)]
    return found


def make_sources(paths: Sequence[pathlib.Path], folder: pathlib.Path) -> dict[str, VideoSource]:
    """Prepares the videos; returns the source of each version, in any order of the videos."""
    links = folder / "videos"
    links.mkdir()
    for number, path in enumerate(paths):
        (links / f"{number}{path.suffix}").symlink_to(path)
    sources: dict[str, VideoSource] = {DOWNLOADED: FolderSource(str(links))}
    for profile in (LOW_DELAY, STRIDE_ALIGNED):
        out = str(folder / profile)
        command = [sys.executable, "-m", "data_prep.prepare", "--dataset=folder", f"--out={out}"]
        command += [f"--videos={links}", f"--profile={profile}", "--workers=0"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        sources[profile] = RecordSource(out, "train")
    return sources


def make_readers(
    version: str, source: VideoSource, index: int, seed: int, folder: pathlib.Path
) -> dict[str, Callable[[], object]]:
    """Functions that read one random clip of a video, by reader; only those installed.

    Raises:
        VideoError: The video cannot be read.
    """

    def make_ours(motion: str) -> Callable[[], dict[str, np.ndarray]]:
        config = base_config.pretrain().data
        config.motion = motion
        loader = LoadClip.from_config(config, source)
        return lambda: loader.random_map((0, index), np.random.default_rng(seed))

    ours = make_ours("auto")
    drawn = ours()
    if not drawn["valid"].all():
        raise VideoError(drawn["error"][0].tobytes().rstrip(b"\0").decode())
    video = source[index].video
    path = folder / f"{version}_{index}.mp4"
    if isinstance(video, bytes):
        path.write_bytes(video)
    else:
        path = pathlib.Path(video)
    numbers, crop = drawn["frames"][0], drawn["source_box"][0]
    readers: dict[str, Callable[[], object] | None] = {
        OURS: ours,
        WITHOUT_MOTION: make_ours("none"),
        DECORD: clip_decoders.make_decord(path, numbers, crop),
        TORCHCODEC: clip_decoders.make_torchcodec(path, numbers, crop),
    }
    if version == LOW_DELAY:  # Whose timestamps are those of the frames.
        readers[LIBAVCODEC] = clip_decoders.make_libavcodec(path, numbers)
    return {name: read for name, read in readers.items() if read is not None}


def _cpu_seconds(read: Callable[[], object]) -> float:
    start = time.process_time()  # Of all threads.
    read()
    return time.process_time() - start


def measure(
    sources: Mapping[str, VideoSource], clips: int, rounds: int, folder: pathlib.Path
) -> list[Times]:
    """Times all readers on all versions of each video; `folder` gets the prepared files."""
    found = []
    numbers = {
        version: {pathlib.Path(source[index].video_id).stem: index for index in range(len(source))}
        for version, source in sources.items()
    }
    for name in numbers[DOWNLOADED]:
        functions = {}
        for (version, source), seed in itertools.product(sources.items(), range(clips)):
            readers = make_readers(version, source, numbers[version][name], seed, folder)
            for reader, read in readers.items():
                functions[version, reader, seed] = functools.partial(_cpu_seconds, read)
        # One reader reads all its clips before the next one does, as a worker would.
        medians = interleaved_medians(dict(sorted(functions.items())), rounds)
        times: collections.Counter[tuple[str, str]] = collections.Counter()
        for (version, reader, _), seconds in medians.items():
            times[version, reader] += seconds / clips
        found.append(dict(times))
    return found


def make_rows(videos: Sequence[Times]) -> list[tuple[str, ...]]:
    """Per version and reader: milliseconds, and how many times as fast mgm_jax reads."""
    rows = []
    for version, reader in videos[0]:
        seconds, ours = ([times[version, which] for times in videos] for which in (reader, OURS))
        ratios = [other / own for other, own in zip(seconds, ours, strict=True)]
        rows.append(
            (
                f"{version}: {reader}",
                f"{1e3 * statistics.fmean(seconds):.1f}",
                f"{statistics.fmean(seconds) / statistics.fmean(ours):.2f}",
                f"{min(ratios):.2f} to {max(ratios):.2f}",
            )
        )
    return rows


def main(_: Sequence[str]) -> None:
    """Measures and prints the table."""
    values = flags.FLAGS
    keep_freed_memory()  # As the workers of training do.
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        sources = make_sources(choose_videos(values.videos, values.max_videos), folder)
        times = measure(sources, values.clips, values.rounds, folder)
    print_table(
        ("", "ms per clip", "mgm_jax is x times as fast", "single videos"), make_rows(times)
    )


if __name__ == "__main__":
    flags.DEFINE_multi_string("videos", None, "Video or folder; may be repeated.", required=True)
    flags.DEFINE_integer("max_videos", 10, "Videos of each folder.", lower_bound=1)
    flags.DEFINE_integer("clips", 3, "Random clips of each video.", lower_bound=1)
    flags.DEFINE_integer("rounds", 7, "Times each clip is read each way.", lower_bound=1)
    run_program(main)
