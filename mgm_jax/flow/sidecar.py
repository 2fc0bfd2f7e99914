"""Optical flow computed ahead of time, one small file per video (Table 4b, offline).

    python -m mgm_jax.flow.sidecar --weights=raft_small.npz --videos=DIR --out=FLOW

writes `FLOW/class/clip.mp4.flow.npz` for `DIR/class/clip.mp4`. Videos that have their file are
passed over, so a stopped run goes on where it was. `--shard=0 --num_shards=8` to
`--shard=7 --num_shards=8` divide the work between eight processes or machines. `--method=dis`
needs no weights and no accelerator, but OpenCV.

A file holds `motion`, float16 `[num_frames, ceil(H/8), ceil(W/8), 2]`: for each frame the
displacement (dx, dy) from the frame before it **in the video**, in source pixels, on this frame's
grid, as `Video.read` gives it from a codec. Frame 0 has none, and is zero.

Reading needs neither jax nor OpenCV: worker processes import this.
"""

import hashlib
import json
import os
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, SupportsIndex

import numpy as np
from absl import app, flags, logging
from jaxtyping import Bool, Float16, Float32, Int

from mgm_jax.errors import ConfigError, MgmError, VideoError
from mgm_jax.flow import files

SUFFIX = ".flow.npz"
SETTINGS_FILE = "flow_settings.json"
METHODS = ("raft_small", "dis")
_COMMAND = "python -m mgm_jax.flow.sidecar"


def sidecar_path(folder: str | os.PathLike, video_id: str) -> pathlib.Path:
    """Where the flow of the video with this `VideoRecord.video_id` is."""
    return pathlib.Path(folder, video_id + SUFFIX)


def read_sidecar(
    path: str | os.PathLike, frame_indices: Sequence[SupportsIndex] | Int[np.ndarray, " t"]
) -> tuple[Float32[np.ndarray, "t rows columns 2"], Bool[np.ndarray, " t"]]:
    """Reads the motion of some frames; `motion` and `motion_valid` as in `DecodedClip`.

    Args:
        path: The video's file of flow.
        frame_indices: Frames in presentation order; in any order, may repeat.

    Returns:
        Displacement (dx, dy) from the frame before in the video per 8x8 cell of the whole
        displayed frame, in source pixels; and whether there is one, which frame 0 has not.

    Raises:
        VideoError: No such file, it is damaged, or it has no such frame.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise VideoError(f"{path}: no flow is stored there; make it with {_COMMAND}")
    try:
        motion = files.read_arrays(path)["motion"]
    except (ValueError, KeyError) as error:
        raise VideoError(
            f"{path}: the flow cannot be read ({error}); delete it and run {_COMMAND} again"
        ) from error
    numbers = np.array([int(index) for index in frame_indices], np.int64)
    outside = numbers[(numbers < 0) | (numbers >= len(motion))]
    if len(outside):
        raise VideoError(
            f"{path}: no flow for frame {outside[0]}, only for frames 0 to {len(motion) - 1}; if "
            f"the video has changed, delete the file and run {_COMMAND} again"
        )
    return motion[numbers].astype(np.float32), numbers > 0


def write_sidecar(
    path: str | os.PathLike, motion: Float16[np.ndarray, "frames rows columns 2"]
) -> None:
    """Writes the flow of one video, whole or not at all."""
    files.write_arrays(pathlib.Path(path), {"motion": motion})


def check_settings(out: str | os.PathLike, settings: Mapping[str, Any]) -> None:
    """Keeps flow made in different ways out of one folder.

    Args:
        out: Folder of flow; the settings are written there when it has none.
        settings: What the flow depends on besides the videos.

    Raises:
        ConfigError: The folder's flow was made with other settings.
    """
    path = pathlib.Path(out, SETTINGS_FILE)
    if not path.exists():
        with files.replacing(path) as file:
            file.write(json.dumps(settings, indent=2).encode())
        return
    stored = json.loads(path.read_text())
    differing = [
        f"{name} was {stored.get(name)}, is {settings.get(name)}"
        for name in sorted(stored.keys() | settings.keys())
        if stored.get(name) != settings.get(name)
    ]
    if differing:
        raise ConfigError(
            f"--out: the flow in {out} was made with other settings ({'; '.join(differing)}); give "
            "another folder, or delete this one"
        )


def _define_flags() -> None:
    from mgm_jax.flow import classical, raft

    flags.DEFINE_string("videos", None, "Folder of videos, or of records.", required=True)
    flags.DEFINE_enum("source", "folder", ["folder", "records"], "What --videos holds.")
    flags.DEFINE_string("split", "train", "Split of the records.")
    flags.DEFINE_string("out", None, "Folder for the flow.", required=True)
    flags.DEFINE_enum("method", METHODS[0], METHODS, "How the flow is estimated.")
    flags.DEFINE_string("weights", None, "For raft_small: .npz of mgm_jax.flow.convert.")
    flags.DEFINE_integer("num_flow_updates", 12, "For raft_small.", lower_bound=1)
    flags.DEFINE_enum("preset", "medium", classical.PRESETS, "For dis.")
    flags.DEFINE_integer(
        "short_side",
        256,
        "Larger videos are scaled down to it, pixels.",
        lower_bound=raft.SMALLEST_SIDE,
    )
    flags.DEFINE_integer("shard", 0, "Which share of the videos to do.", lower_bound=0)
    flags.DEFINE_integer("num_shards", 1, "Number of shares.", lower_bound=1)


def _make_method(values: flags.FlagValues) -> tuple[Callable, dict[str, Any]]:
    from mgm_jax.flow import estimators

    settings = {"method": values.method, "short_side": values.short_side}
    if values.method == "dis":
        return estimators.make_dis_flow(values.preset), settings | {"preset": values.preset}
    if not values.weights:
        raise ConfigError(
            "--weights is missing: give the .npz that python -m mgm_jax.flow.convert wrote, or "
            "--method=dis"
        )
    flow = estimators.make_raft_flow(values.weights, values.num_flow_updates)
    return flow, settings | {
        "num_flow_updates": values.num_flow_updates,
        "weights_sha256": hashlib.sha256(pathlib.Path(values.weights).read_bytes()).hexdigest(),
    }


def main(argv: Sequence[str]) -> None:
    """Makes the flow that the flags ask for; exit code 1 if a video failed."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    # Imported late: worker processes that read flow import this module, and not jax.
    from mgm_jax.data.sources import make_source
    from mgm_jax.flow import estimators

    values = flags.FLAGS
    if values.shard >= values.num_shards:
        raise app.UsageError(
            f"--shard={values.shard} --num_shards={values.num_shards}: shards count from 0"
        )
    try:
        source = make_source(values.source, values.videos, values.split)
        flow, settings = _make_method(values)
        check_settings(values.out, settings)
        failures = estimators.make_sidecars(
            source,
            values.out,
            flow,
            short_side=values.short_side,
            shard=values.shard,
            num_shards=values.num_shards,
        )
    except MgmError as error:
        sys.exit(f"error: {error}")
    if failures:
        sys.exit(f"error: {len(failures)} videos failed:\n  " + "\n  ".join(failures))


if __name__ == "__main__":
    # Only in the program itself: another command imported beside it may have equal names.
    _define_flags()
    logging.set_verbosity(logging.INFO)
    app.run(main)
