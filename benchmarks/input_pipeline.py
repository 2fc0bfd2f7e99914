"""Training clips per second of one core, beside libavcodec alone and other readers.

    python -m benchmarks.input_pipeline --videos=FILE_OR_FOLDER [--videos=...]

prepares the videos as `data_prep` does, under both profiles, reads random training clips of all
versions in turns, and prints Markdown; docs/input_pipeline.md keeps it.
"""

import pathlib
import statistics
import sys
import tempfile
from collections.abc import Sequence

from absl import app, flags

from benchmarks import first_batch
from benchmarks.clip_decoders import NOT_INSTALLED
from benchmarks.input_measurements import (
    ALONE,
    CLIP_FRAMES,
    DECORD,
    DOWNLOADED,
    LOOP,
    LOW_DELAY,
    NEEDED,
    OURS,
    QUALITY_FRAMES,
    SHORT_SIDE,
    SIZE,
    STRIDE,
    STRIDE_ALIGNED,
    TORCHCODEC,
    VERSIONS,
    WINDOW,
    Times,
    VideoCosts,
    find_videos,
    measure,
)
from benchmarks.timing import markdown_table, when_and_where
from mgm_jax.data.workers import keep_freed_memory
from mgm_jax.errors import MgmError

# The project's goals.
OF_LIBAVCODEC, OVER_DECORD, OVER_TORCHCODEC, ALIGNED_OVER_DECORD, ALIGNED_OVER_LOW_DELAY = (
    *(0.85, 2.5, 1.3, 6.0, 2.0),
)
MOST_SECONDS = 3.0

HOW_TO_READ = f"""\
*How to read it.* A training clip is {CLIP_FRAMES} frames at stride {STRIDE} from a random start,
with a random crop to {SIZE} pixels. Times are CPU time per clip with one decoding thread, all
threads of the process counted: the work of one core; the process keeps the memory that it frees, as
the workers of training do. Every way of reading reads the same frames and the same crops of the
same file, its clips one after the other as a worker does, and the ways take turns; a number is the
mean over clips of the median over rounds.

- *{OURS}*: the path that training takes (`LoadClip`), from the file, or from a record of a
  prepared dataset, to planes (window {WINDOW}) and motion ready to be sent to the device, which
  converts to RGB, scales, flips and normalises. *{NEEDED}*: the
  decoder's part of it, the file being open.
- *{LOOP}*: a bare PyAV loop that opens the file, seeks, decodes up to the
  last frame, and looks at none. *{ALONE}*: the file is open and its packets
  are in memory.
- *{DECORD}*: as VideoMAE reads: RGB frames of full size, cropped and scaled to {SIZE} by PIL.
  *{TORCHCODEC}*: RGB frames of full size, cropped and scaled by torch. Neither has motion; both
  stop at 8 bits, before normalisation. decord brings its own FFmpeg, torchcodec takes the
  system's.
- *First batch*: in a fresh process, from building `ClipBatches` to the first batch. The CPU time is
  that of the process and of one worker together, the time on the wall depends on what else the
  machine does."""


def mean_times(costs: Sequence[VideoCosts]) -> Times:
    """Seconds per clip, the mean over the videos."""
    names = [name for name in costs[0].times if all(name in cost.times for cost in costs)]
    return {name: statistics.fmean(cost.times[name] for cost in costs) for name in names}


def make_report(
    costs: Sequence[VideoCosts], starts: Sequence[first_batch.Start], command: str
) -> str:
    """The measurements as Markdown.

    Args:
        costs: Of `measure`.
        starts: Of the readers.
        command: What was run.

    Returns:
        Goals, tables, and how to read them.
    """
    return "\n\n".join(
        [
            f"    {command}",
            when_and_where(),
            HOW_TO_READ,
            "### Goals",
            goals_table(costs, starts),
            "### CPU milliseconds per clip",
            times_table(costs),
            f"### Size and quality (short side {SHORT_SIDE}, first {QUALITY_FRAMES} frames)",
            quality_table(costs),
        ]
    )


def goals_table(costs: Sequence[VideoCosts], starts: Sequence[first_batch.Start]) -> str:
    """Each goal, what came out over all videos, the range over the videos, and the verdict."""
    rows = []

    def compare(what: str, goal: float, other: tuple[str, str], ours: tuple[str, str]) -> None:
        times = mean_times(costs)
        if other not in times:
            rows.append((what, f"≥ {goal:g}", NOT_INSTALLED, "", ""))
            return
        ratio = times[other] / times[ours]
        each = [cost.times[other] / cost.times[ours] for cost in costs]
        verdict = "met" if ratio >= goal else "missed"
        span = f"{min(each):.2f} to {max(each):.2f}"
        rows.append((what, f"≥ {goal:g}", f"{ratio:.2f}", span, verdict))

    low_delay, aligned = (OURS, LOW_DELAY), (OURS, STRIDE_ALIGNED)
    for name in (LOOP, ALONE):
        what = f"clips/s of ours over {name}, {LOW_DELAY}"
        compare(what, OF_LIBAVCODEC, (name, LOW_DELAY), low_delay)
    for name, goal in ((DECORD, OVER_DECORD), (TORCHCODEC, OVER_TORCHCODEC)):
        for version in (LOW_DELAY, STRIDE_ALIGNED, DOWNLOADED):
            what = f"ours over {name}, same file, {version}"
            compare(what, goal, (name, version), (OURS, version))
    what = f"ours on {STRIDE_ALIGNED} over {DECORD} on the file {DOWNLOADED}"
    compare(what, ALIGNED_OVER_DECORD, (DECORD, DOWNLOADED), aligned)
    what = f"{OURS}, on {STRIDE_ALIGNED} over {LOW_DELAY}"
    compare(what, ALIGNED_OVER_LOW_DELAY, low_delay, aligned)
    for where, field in (("all frames", "low_delay_bytes"), ("shown", "low_delay_bytes_shown")):
        each = [cost.encodings[STRIDE_ALIGNED].num_bytes / getattr(cost, field) for cost in costs]
        ratio = statistics.geometric_mean(each)
        what = f"bytes of {STRIDE_ALIGNED} over {LOW_DELAY} at equal PSNR ({where})"
        verdict = "met" if ratio <= 1 else "missed"
        rows.append((what, "≤ 1", f"{ratio:.2f}", f"{min(each):.2f} to {max(each):.2f}", verdict))
    for what, each in (
        ("CPU seconds", [start.cpu for start in starts]),
        ("seconds on the wall", [start.wall for start in starts]),
    ):
        median = statistics.median(each)
        verdict = "met" if median < MOST_SECONDS else "missed"
        span = f"{min(each):.2f} to {max(each):.2f}"
        rows.append((f"first batch, {what}", f"< {MOST_SECONDS:g}", f"{median:.2f}", span, verdict))
    return markdown_table(("", "goal", "came out", "single videos or starts", ""), rows)


def times_table(costs: Sequence[VideoCosts]) -> str:
    """Milliseconds of each way of reading each version, per video and on average."""
    ways = [(name, LOW_DELAY) for name in (LOOP, ALONE)]
    ways += [
        (name, version)
        for version in VERSIONS
        for name in (OURS, NEEDED, DECORD, TORCHCODEC)
        if version != DOWNLOADED or name != NEEDED
    ]
    header = ("", *(f"{number}" for number in range(1, len(costs) + 1)), "mean")
    mean = mean_times(costs)
    rows = [
        (
            f"{version}: {name}",
            *(
                [f"{1e3 * cost.times[name, version]:.1f}" for cost in costs]
                + [f"{1e3 * mean[name, version]:.1f}"]
                if (name, version) in mean
                else [NOT_INSTALLED] + [""] * len(costs)
            ),
        )
        for name, version in ways
    ]
    names = "\n".join(
        f"{number}. {cost.name} ({cost.facts})" for number, cost in enumerate(costs, 1)
    )
    return f"{names}\n\n{markdown_table(header, rows)}"


def quality_table(costs: Sequence[VideoCosts]) -> str:
    """Bytes, PSNR and SSIM of each profile, per video."""
    rows = []
    for number, cost in enumerate(costs, 1):
        rows.append((f"{number} {DOWNLOADED}", f"{cost.downloaded_bytes / 1e3:.0f}", *[""] * 4))
        for profile, made in cost.encodings.items():
            qualities = (made.every, made.shown)
            rows.append(
                (
                    f"{number} {profile}",
                    f"{made.num_bytes / 1e3:.0f}",
                    *(f"{quality.psnr:.2f}" for quality in qualities),
                    *(f"{quality.ssim:.4f}" for quality in qualities),
                )
            )
    shown = f"every {STRIDE}th frame"
    header = ("", "kB", "PSNR, dB", f"PSNR, {shown}", "SSIM", f"SSIM, {shown}")
    return markdown_table(header, rows)


def _define_flags() -> None:
    flags.DEFINE_multi_string("videos", None, "Video or folder; several may be.", required=True)
    flags.DEFINE_integer("max_videos", 10, "Videos of each folder.", lower_bound=1)
    flags.DEFINE_integer("clips", 3, "Random clips of each video.", lower_bound=1)
    flags.DEFINE_integer("rounds", 7, "How often each is read each way.", lower_bound=1)
    flags.DEFINE_integer("starts", 3, "How often the first batch is waited for.", lower_bound=1)
    flags.DEFINE_integer("workers", 2, "Worker processes of the first batch.", lower_bound=0)


def main(argv: Sequence[str]) -> None:
    """Measures what the flags name and prints the report."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    values = flags.FLAGS
    keep_freed_memory()
    try:
        paths = find_videos(values.videos, values.max_videos)
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            costs = measure(
                paths,
                folder,
                values.clips,
                values.rounds,
                lambda line: print(line, file=sys.stderr),
            )
            dataset = str(folder / LOW_DELAY)
            starts = [
                first_batch.measure_start(dataset, "train", len(paths), values.workers)
                for _ in range(values.starts)
            ]
    except MgmError as error:
        sys.exit(f"error: {error}")
    command = (
        f"python -m benchmarks.input_pipeline {' '.join(['--videos=PATH'] * len(values.videos))} "
        f"--max_videos={values.max_videos} --clips={values.clips} --rounds={values.rounds}"
    )
    print(make_report(costs, starts, command))


if __name__ == "__main__":
    _define_flags()
    app.run(main)
