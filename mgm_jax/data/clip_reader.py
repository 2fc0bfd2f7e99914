"""Reads frames of a video and cuts clips of fixed shape out of them, with their motion."""

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from mgm_jax.data.crops import MOTION_CELL, Crop, crop_motion, fit_host_crop, host_crop_region
from mgm_jax.data.decoding import Video
from mgm_jax.data.film import FilmPart
from mgm_jax.data.motion.flow_files import flow_path, read_flow
from mgm_jax.data.records import UNLABELLED, VideoRecord
from mgm_jax.data.video.planes import Window


@dataclasses.dataclass(frozen=True)
class ReadSpec:
    """What every clip of a run is made of.

    Attributes:
        clip_frames: Frames per clip, T.
        stride: Distance between sampled frames; not used by `segments` sampling.
        sampling: `dense` (evenly spaced) or `segments` (one frame of each of T equal parts of the
            video, TSN).
        size: Side of the clip that the model sees, pixels.
        host_crop_size: Side of the square of luma that is sent to the device, pixels (see `crops`).
        motion: See `Video.read`; or `flow`, read from the files of `mgm_jax.flow.precompute`.
        flow_path: Folder of these files.
        allow_damage: See `Video`.
    """

    clip_frames: int = 16
    stride: int = 4
    sampling: Literal["dense", "segments"] = "dense"
    size: int = 224
    host_crop_size: int = 256
    motion: Literal["codec", "estimate", "auto", "none", "flow"] = "auto"
    flow_path: str = ""
    allow_damage: bool = False

    @classmethod
    def from_config(cls, config: ConfigDict) -> "ReadSpec":
        """The spec that a run's config.data describes."""
        # Configs of earlier runs do not have all values.
        spec = {
            field.name: config.get(field.name, field.default) for field in dataclasses.fields(cls)
        }
        # RAFT computes motion on the device, from the clip's pixels.
        spec["motion"] = "none" if config.motion == "raft" else config.motion
        return cls(**spec)


def read_clips(
    spec: ReadSpec,
    video: Video | FilmPart,
    record: VideoRecord,
    frames: Int[np.ndarray, " t"],
    crops: list[Crop],
    frame_size: tuple[int, int],
) -> dict[str, np.ndarray]:
    """Reads one clip for each crop, all of the same frames.

    The host scales the frames to `frame_size`, (height, width), in which the crops are; to less for
    a crop that does not fit the host crop.

    Returns:
        The fields that `LoadClip.random_map` lists first, up to `source_box`.

    Raises:
        VideoError: The frames or their motion cannot be read.
    """
    source_size = (video.height, video.width)
    windows, fitted = [], []
    for drawn in crops:
        crop, size = fit_host_crop(drawn, frame_size, spec.host_crop_size)
        region = host_crop_region(crop, size, spec.host_crop_size)
        windows.append(Window(None if size == source_size else size, region))
        fitted.append((crop, size, region))
    distinct = list(dict.fromkeys(windows))  # Small frames fit whole, in all copies.
    decoded = video.read(
        frames,
        windows=distinct,
        motion="none" if spec.motion == "flow" else spec.motion,
        # The previous sampled frame is decoded anyway; segments are not evenly spaced.
        motion_fallback_distance=1 if spec.sampling == "segments" else spec.stride,
    )
    motion, valid = decoded.motion, decoded.motion_valid
    if spec.motion == "flow":
        path = flow_path(spec.flow_path, record.video_id)
        shape = (video.num_frames, *motion.shape[1:3])
        motion, valid = read_flow(path, frames, shape, record.video)
    source_per_frame = [np.tile(np.divide(source_size, size), 2) for _, size, _ in fitted]
    sides = np.array([(crop.top, crop.left, crop.height, crop.width) for crop, *_ in fitted])
    origins = [(*region[:2], 0, 0) for *_, region in fitted]
    copies = len(crops)
    planes = [decoded.planes[distinct.index(window)] for window in windows]
    maps = [
        crop_motion(motion, crop, source_size=source_size, frame_size=size, size=spec.size)
        for crop, size, _ in fitted
    ]
    return {
        "luma": np.stack([luma for luma, _ in planes]),
        "chroma": np.stack([chroma for _, chroma in planes]),
        "crop_box": np.subtract(sides, origins).astype(np.float32),
        "frame_box": np.array([(-r[0], -r[1], *size) for _, size, r in fitted], np.float32),
        "flip": np.array([crop.flip for crop in crops], bool),
        "yuv_to_rgb": np.repeat(decoded.yuv_to_rgb[None].astype(np.float32), copies, axis=0),
        "motion": np.stack(maps),
        "motion_valid": np.repeat(valid[None], copies, axis=0),
        "label": np.full(copies, record.label, np.int32),
        "frames": np.repeat(frames[None].astype(np.int32), copies, axis=0),
        "source_box": (sides * source_per_frame).astype(np.float32),
    }


def blank_clips(spec: ReadSpec, copies: int) -> dict[str, np.ndarray]:
    """Zeros in the structure of the result of `read_clips`."""
    frames, side = spec.clip_frames, spec.host_crop_size
    cells = spec.size // MOTION_CELL
    whole = np.array([[0, 0, side, side]], np.float32).repeat(copies, axis=0)
    return {
        "luma": np.zeros((copies, frames, side, side), np.uint8),
        "chroma": np.zeros((copies, frames, side // 2, side // 2, 2), np.uint8),
        "crop_box": whole,
        "frame_box": whole,
        "flip": np.zeros(copies, bool),
        "yuv_to_rgb": np.zeros((copies, 3, 4), np.float32),
        "motion": np.zeros((copies, frames, cells, cells, 2), np.float32),
        "motion_valid": np.zeros((copies, frames), bool),
        "label": np.full(copies, UNLABELLED, np.int32),
        "frames": np.zeros((copies, frames), np.int32),
        "source_box": whole,
    }
