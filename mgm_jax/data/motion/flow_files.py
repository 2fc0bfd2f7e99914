"""Files of optical flow computed before training, one small file per video (Table 4b).

`python -m mgm_jax.flow.precompute` writes them. A file holds `motion`, float16
`[num_frames, ceil(H/8), ceil(W/8), 2]`: for each frame the displacement (dx, dy) in source pixels
from the previous frame **of the video**, on this frame's grid, as codec vectors give it. Frame 0 is
zero.
"""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Bool, Float16, Float32, Int

from mgm_jax import io
from mgm_jax.errors import ConfigError, VideoError, differences

SUFFIX = ".flow.npz"
SETTINGS_FILE = "flow_settings.json"
_COMMAND = "python -m mgm_jax.flow.precompute"


def flow_path(folder: str | os.PathLike, video_id: str) -> pathlib.Path:
    """Where the flow of the video with this `VideoRecord.video_id` is stored: always in `folder`.

    An id may lead out of it, as a path in a list does: `..` and `/` are then stored as `%..` and
    `%`.
    """
    # A folder of such a name has its % doubled, so that no two videos share a file.
    inside = {"..": "%..", "/": "%", "//": "%"}
    parts = pathlib.PurePosixPath(video_id + SUFFIX).parts
    return pathlib.Path(folder, *(inside.get(p, f"%{p}" if p[0] == "%" else p) for p in parts))


def read_flow(
    path: str | os.PathLike,
    frame_indices: Sequence[SupportsIndex] | Int[np.ndarray, " t"],
    shape: tuple[int, int, int],
) -> tuple[Float32[np.ndarray, "t rows columns 2"], Bool[np.ndarray, " t"]]:
    """Reads the motion of some frames, in any order, from a video's file of flow.

    `shape` is the video's number of frames, and the rows and columns of its motion.

    Returns:
        `motion` and `motion_valid` as in `DecodedClip`; frame 0 has no motion.

    Raises:
        VideoError: No such file, it is damaged or not finite, or it is of another video.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise VideoError(f"{path}: no flow is stored there; compute it with {_COMMAND}")
    try:
        motion = io.read_arrays(path)["motion"]
    except (ValueError, KeyError) as error:
        raise VideoError(
            f"{path}: the flow cannot be read ({error}); delete it and run {_COMMAND} again"
        ) from error
    if motion.shape != (*shape, 2):
        raise VideoError(
            f"{path}: the flow is of another video: its array is {motion.shape}, this video's "
            f"{(*shape, 2)} (frames, rows and columns of 8x8 pixels, dx and dy); give the folder "
            f"of this video's flow, or delete the file and run {_COMMAND} again"
        )
    numbers = np.array([int(index) for index in frame_indices], np.int64)
    chosen = motion[numbers].astype(np.float32)
    if not np.isfinite(chosen).all():
        raise VideoError(
            f"{path}: the flow is not finite; delete the file and run {_COMMAND} again"
        )
    return chosen, numbers > 0


def write_flow(
    path: str | os.PathLike, motion: Float16[np.ndarray, "frames rows columns 2"]
) -> None:
    """Writes the flow of one video, whole or not at all."""
    io.write_arrays(pathlib.Path(path), {"motion": motion})


def check_settings(out: str | os.PathLike, settings: Mapping[str, Any]) -> None:
    """Writes the settings that the flow in a folder depends on, or checks that they are the same.

    Raises:
        ConfigError: The folder's flow was computed with other settings.
    """
    path = pathlib.Path(out, SETTINGS_FILE)
    if not path.exists():
        with io.replacing(path) as file:
            file.write(json.dumps(settings, indent=2).encode())
        return
    stored = json.loads(path.read_text())
    if stored != settings:
        raise ConfigError(
            f"--out: the flow in {out} was computed with other settings "
            f"({'; '.join(differences(stored, settings))}); give another folder, or delete this one"
        )
