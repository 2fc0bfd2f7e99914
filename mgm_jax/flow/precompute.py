"""Computes the optical flow of videos ahead of time, one small file per video.

    python -m mgm_jax.flow.precompute --weights=raft_small.npz --videos=DIR --out=FLOW

writes `FLOW/class/clip.mp4.flow.npz` for `DIR/class/clip.mp4` (see `data.motion.flow_files`).
Videos whose flow is there are skipped, so a stopped run resumes. Several machines may share
the work, each with a csv of its part of the videos. `--method=dis` needs OpenCV, but no weights and
no accelerator.
"""

import hashlib
import os
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

from absl import flags, logging

from mgm_jax.data.decoding import Video
from mgm_jax.data.motion import flow_files
from mgm_jax.data.records import VideoSource
from mgm_jax.data.sources import SOURCES, make_source
from mgm_jax.errors import ConfigError, VideoError, reading_video
from mgm_jax.flow import estimators, raft
from mgm_jax.flow.weights import HOW_TO_GET
from mgm_jax.io import local_path
from mgm_jax.program import run_program

METHODS = ("raft_small", "dis")
_SECONDS_BETWEEN_REPORTS = 10.0


def write_flow_of_videos(
    source: VideoSource,
    out: str | os.PathLike,
    flow_fn: estimators.FlowFn,
    *,
    short_side: int = 256,
    allow_damage: bool = False,
) -> list[str]:
    """Writes the flow of each video whose flow is not in the folder `out` yet.

    `allow_damage` is that of `decoding.Video`.
    Returns one error message for each video that could not be read.
    """
    made, failures = 0, []
    start = reported = time.monotonic()
    for index in range(len(source)):
        name = source.describe(index)
        if time.monotonic() - reported > _SECONDS_BETWEEN_REPORTS:
            reported = time.monotonic()
            rate = made / (reported - start)
            logging.info("%d of %d videos, %.2f computed per second", index, len(source), rate)
        try:
            with reading_video(name):
                record = source[index]
                path = flow_files.flow_path(out, record.video_id)
                if flow_files.has_flow(path, record.video):
                    continue
                with Video(record.video, name, allow_damage) as video:
                    motion = estimators.video_flow(video, flow_fn, short_side=short_side)
        except VideoError as error:
            logging.warning("%s", error)
            failures.append(str(error))
            continue
        flow_files.write_flow(path, motion, record.video)
        made += 1
    logging.info(
        "flow of %d videos in %s: %d computed in %.1f s, %d existed already, %d failed",
        len(source) - len(failures),
        out,
        made,
        time.monotonic() - start,
        len(source) - made - len(failures),
        len(failures),
    )
    return failures


def _make_method(values: flags.FlagValues) -> tuple[estimators.FlowFn, dict[str, Any]]:
    settings = {"method": values.method, "short_side": values.short_side}
    if values.method == "dis":
        for name in ("weights", "num_flow_updates"):
            if flags.FLAGS[name].present:
                raise ConfigError(f"--{name}={values[name].value} has no effect with --method=dis")
        return estimators.make_dis_flow(), settings | {"preset": "medium"}
    if not values.weights:
        raise ConfigError(
            f"--weights is missing: give RAFT-Small's, or use --method=dis. {HOW_TO_GET}"
        )
    flow = estimators.make_raft_flow(values.weights, values.num_flow_updates)
    return flow, settings | {
        "num_flow_updates": values.num_flow_updates,
        "weights_sha256": hashlib.sha256(pathlib.Path(values.weights).read_bytes()).hexdigest(),
    }


def main(_: Sequence[str]) -> None:
    """Computes the flow as the flags say; exits with code 1 if a video failed."""
    values = flags.FLAGS
    out = local_path(values.out, "--out")
    try:
        source = make_source(values.source, values.videos, values.split, values.root)
    except ConfigError as error:
        raise ConfigError(f"--videos={values.videos} --split={values.split}: {error}") from error
    flow, settings = _make_method(values)
    flow_files.check_settings(out, settings)
    failures = write_flow_of_videos(
        source, out, flow, short_side=values.short_side, allow_damage=values.allow_damage
    )
    if failures:
        sys.exit(f"error: {len(failures)} videos failed:\n  " + "\n  ".join(failures))


if __name__ == "__main__":
    # Defined here only, because commands that import each other may share flag names.
    flags.DEFINE_string("videos", None, "Folder of videos or of records, or a csv.", required=True)
    flags.DEFINE_enum("source", "folder", sorted(SOURCES), "What --videos holds.")
    flags.DEFINE_string("root", "", "For csv: folder that its paths are relative to.")
    flags.DEFINE_bool("allow_damage", False, "Accept frames that FFmpeg has concealed damage in.")
    flags.DEFINE_string("split", "train", "Split of the records or of the csv.")
    flags.DEFINE_string("out", None, "Folder for the flow files.", required=True)
    flags.DEFINE_enum("method", METHODS[0], METHODS, "How the flow is estimated.")
    flags.DEFINE_string("weights", None, "For raft_small: .npz of torchvision's state dict.")
    flags.DEFINE_integer("num_flow_updates", 12, "For raft_small: iterations.", lower_bound=1)
    short_side_help = "Short side, in pixels, to which larger videos are scaled down."
    flags.DEFINE_integer("short_side", 256, short_side_help, lower_bound=raft.SMALLEST_SIDE)
    run_program(main)
