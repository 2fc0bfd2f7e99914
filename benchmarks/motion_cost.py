"""What motion costs on top of decoding: codec vectors, block matching, optical flow.

    python -m benchmarks.motion_cost --videos=DIR [--videos=DIR2] [--raft_weights=raft_small.npz]

measures the videos as they are, and again as `data_prep` prepares them (`low_delay`), and prints
Markdown; docs/motion_cost.md keeps it.
"""

import pathlib
import sys
import tempfile
from collections.abc import Sequence

import jax
from absl import app, flags

from benchmarks.motion_measurements import (
    CLIP_FRAMES,
    DECODE,
    EXPORT,
    FLOW_PAIRS,
    HAND_OVER,
    MAPS,
    PAINT,
    RAFT,
    STRIDE,
    VECTORS,
    Costs,
    find_videos,
    measure,
    on_accelerator,
    random_raft_weights,
)
from benchmarks.timing import markdown_table, when_and_where
from mgm_jax.errors import MgmError

# The project's goals: what codec vectors may add to decoding, and how many times that RAFT-Small
# is to cost.
MOST_ADDED, MOST_ADDED_WITH_B_FRAMES, RAFT_OVER_VECTORS = 0.10, 0.15, 100

HOW_TO_READ = f"""\
*How to read it.* "Whole videos" is about the motion of every frame, as in the paper (which gives 80
ms per SSv2 video for motion vectors and 2.5 s for RAFT-Small, a ratio of about 30). "Decode only"
is the decoder's work on an open file, and all other rows contain it. "Codec vectors" are all
vectors of each frame as an array; a row of its own adds painting them into a map for each frame: it
is "decode only" plus what reading the video takes longer with maps than without motion.
"Training clips" is what training does: it opens the file, reads {CLIP_FRAMES} frames at stride
{STRIDE}, copies their planes and paints their maps; frames in between are decoded, but need no map.
Times are CPU time on one decoding thread, all threads counted,
medians of rounds in which the methods take turns: compare within this page, not with other
machines. Block matching, DIS and RAFT-Small were measured on {FLOW_PAIRS} pairs of frames of each
video (RAFT-Small: of each size of frame) and are extrapolated to all frames. RAFT-Small's ratio
holds for this machine; an accelerator computes it many times faster."""


def make_report(costs: dict[str, Costs], command: str, notes: str) -> str:
    """The measurements as Markdown.

    Args:
        costs: Of `measure`.
        command: What was run.
        notes: About the videos, and about RAFT-Small's weights.

    Returns:
        Tables, the goals and whether they are met, and how to read them.
    """
    device = jax.devices()[0].device_kind if on_accelerator() else None
    if device:
        notes += " It ran on the accelerator, where its wall-clock time counts."
    parts = [
        "# What motion costs",
        f"    {command}",
        f"{when_and_where(device)} {notes}",
        HOW_TO_READ,
        "## Whole videos",
        _table_of_whole(costs),
        "## Training clips",
        _table_of_clips(costs),
        "## Where the time for vectors goes",
        _table_of_parts(costs),
        "## Goals",
        "\n".join(line for kind, cost in costs.items() for line in make_verdicts(kind, cost)),
    ]
    return "\n\n".join(parts)


def _table_of_whole(costs: dict[str, Costs]) -> str:
    header = (
        "",
        "ms per video",
        "ms per frame",
        "x decode only",
        "adds",
        "x what maps add",
    )
    rows = []
    for kind, cost in costs.items():
        for method, seconds in cost.whole.items():
            added = seconds - cost.whole[DECODE]
            rows.append(
                (
                    f"{kind}: {method}",
                    f"{1e3 * seconds / cost.num_videos:.1f}",
                    f"{1e3 * seconds / cost.num_frames:.3f}",
                    *_relative(cost.whole, method),
                    ""
                    if method == DECODE
                    else f"{added / (cost.whole[MAPS] - cost.whole[DECODE]):.1f}",
                )
            )
    return markdown_table(header, rows)


def _table_of_clips(costs: dict[str, Costs]) -> str:
    rows = [
        (
            f"{kind}: {method}",
            f"{1e3 * seconds / cost.num_videos:.1f}",
            *_relative(cost.clips, method),
        )
        for kind, cost in costs.items()
        for method, seconds in cost.clips.items()
    ]
    return markdown_table(("", "ms per clip", "x decode only", "adds"), rows)


def _relative(times: dict[str, float], method: str) -> tuple[str, str]:
    ratio = times[method] / times[DECODE]
    return f"{ratio:.2f}", f"{100 * (ratio - 1):.1f} %"


def _table_of_parts(costs: dict[str, Costs]) -> str:
    rows = [
        (
            kind,
            *(f"{1e6 * cost.parts[part] / cost.num_frames:.0f}" for part in cost.parts),
        )
        for kind, cost in costs.items()
    ]
    header = (
        "µs per frame",
        "decoding alone",
        EXPORT,
        HAND_OVER,
        PAINT,
    )
    return markdown_table(header, rows)


def make_verdicts(kind: str, cost: Costs) -> list[str]:
    """One line for each goal and kind of video, ending in "met." or "missed."."""
    limit = MOST_ADDED_WITH_B_FRAMES if cost.has_b_frames else MOST_ADDED
    times, clips = cost.whole, cost.clips
    added = {
        "the vectors of every frame": times[VECTORS] / times[DECODE] - 1,
        "the vectors of training clips, painted into maps,": clips[VECTORS] / clips[DECODE] - 1,
    }
    lines = [
        f"- {kind}: {what} add {100 * share:.1f} % to decoding; at most {100 * limit:.0f} % is the "
        f"goal: {'met' if share <= limit else 'missed'}."
        for what, share in added.items()
    ]
    ratio = (times[RAFT] - times[DECODE]) / (times[MAPS] - times[DECODE])
    lines.append(
        f"- {kind}: RAFT-Small costs {ratio:.0f} times what vectors and maps add; more than "
        f"{RAFT_OVER_VECTORS} is the goal: {'met' if ratio > RAFT_OVER_VECTORS else 'missed'}."
    )
    return lines


def _define_flags() -> None:
    flags.DEFINE_multi_string("videos", None, "Folder of videos; several may be.", required=True)
    flags.DEFINE_integer("max_videos", 10, "Videos of each folder.", lower_bound=1)
    flags.DEFINE_integer("rounds", 15, "How often each video is read each way.", lower_bound=1)
    flags.DEFINE_string("raft_weights", None, "Of mgm_jax.flow.convert; random ones if left out.")


def main(argv: Sequence[str]) -> None:
    """Measures what the flags name and prints the report."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    values = flags.FLAGS
    most, rounds = values.max_videos, values.rounds
    try:
        found = {folder: find_videos(folder, most) for folder in values.videos}
        paths = [path for paths in found.values() for path in paths]
        with tempfile.TemporaryDirectory() as folder:
            weights, note = values.raft_weights, "RAFT-Small had trained weights."
            if not weights:
                weights = random_raft_weights(pathlib.Path(folder))
                note = "RAFT-Small had random weights: its time does not depend on their values."
            costs = measure(paths, weights, rounds, lambda line: print(line, file=sys.stderr))
    except MgmError as error:
        sys.exit(f"error: {error}")
    command = (
        f"python -m benchmarks.motion_cost {' '.join(['--videos=DIR'] * len(found))} "
        f"--max_videos={most} --rounds={rounds}"
    )
    folders = " and ".join(
        f"{len(paths)} of {pathlib.Path(folder).name}" for folder, paths in found.items()
    )
    print(make_report(costs, command, f"Videos: {folders}. {note}"))


if __name__ == "__main__":
    _define_flags()
    app.run(main)
