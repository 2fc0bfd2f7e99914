"""Files of optical flow computed before training, one small file per video (Table 4b).

`python -m mgm_jax.flow.precompute` writes them. A file holds `motion`, float16
`[num_frames, ceil(H/8), ceil(W/8), 2]`: for each frame the displacement (dx, dy) in source pixels
from the previous frame **of the video**, on this frame's grid, as codec vectors give it. Frame 0 is
zero. `video` is the fingerprint of the video (`data.identity`); files of earlier versions lack it.
"""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Bool, Float16, Float32, Int

from mgm_jax import io
from mgm_jax.data.identity import fingerprint
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
    video: str | bytes,
) -> tuple[Float32[np.ndarray, "t rows columns 2"], Bool[np.ndarray, " t"]]:
    """Reads the motion of some frames, in any order, from a video's file of flow.

    `shape` is the video's number of frames, and the rows and columns of its motion; `video` is its
    file or the bytes of it.

    Returns:
        `motion` and `motion_valid` as in `DecodedClip`; frame 0 has no motion.

    Raises:
        VideoError: No such file, it is damaged or not finite, or it is of another video.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise VideoError(f"{path}: no flow is stored there; compute it with {_COMMAND}")
    try:
        stored = io.read_arrays(path)
        motion = stored["motion"]
    except (ValueError, KeyError) as error:
        raise VideoError(
            f"{path}: the flow cannot be read ({error}); delete it and run {_COMMAND} again"
        ) from error
    if motion.shape != (*shape, 2):
        raise VideoError(
            f"{path}: the flow is of another video: its array is {motion.shape}, this video's "
            f"{(*shape, 2)} (frames, rows and columns of 8x8 pixels, dx and dy); give the folder "
            f"of this video's flow, or run {_COMMAND} again"
        )
    if not _is_of(stored, video):
        raise VideoError(
            f"{path}: the flow is of another video of this name and size; give the folder of this "
            f"video's flow, or run {_COMMAND} again"
        )
    numbers = np.array([int(index) for index in frame_indices], np.int64)
    chosen = motion[numbers].astype(np.float32)
    if not np.isfinite(chosen).all():
        raise VideoError(
            f"{path}: the flow is not finite; delete the file and run {_COMMAND} again"
        )
    return chosen, numbers > 0


def write_flow(
    path: str | os.PathLike,
    motion: Float16[np.ndarray, "frames rows columns 2"],
    video: str | bytes,
) -> None:
    """Writes the flow of a video, a file or the bytes of it, whole or not at all."""
    arrays = {"motion": motion, "video": np.array(fingerprint(video))}
    io.write_arrays(pathlib.Path(path), arrays)


def has_flow(path: str | os.PathLike, video: str | bytes) -> bool:
    """Whether a file holds the flow of this video, as far as it says."""
    try:
        return _is_of(io.read_arrays(pathlib.Path(path), ("video",)), video)
    except (OSError, ValueError):
        return False


def _is_of(stored: Mapping[str, np.ndarray], video: str | bytes) -> bool:
    return "video" not in stored or str(stored["video"]) == fingerprint(video)


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
    try:
        stored = json.loads(path.read_text())
    except ValueError as error:
        raise ConfigError(f"--out: {path} is damaged ({error}); delete the folder") from error
    if stored != settings:
        raise ConfigError(
            f"--out: the flow in {out} was computed with other settings "
            f"({'; '.join(differences(stored, settings))}); give another folder, or delete this one"
        )
