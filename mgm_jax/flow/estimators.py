"""Estimates the flow of whole videos by RAFT-Small or Dense Inverse Search."""

import importlib
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float16, Float32, UInt8

from mgm_jax.data.clip_builder import DecodedClip
from mgm_jax.data.decoding import Video
from mgm_jax.data.motion.codec_vectors import MOTION_CELL
from mgm_jax.data.video.planes import Window
from mgm_jax.errors import ConfigError, VideoError
from mgm_jax.flow import raft
from mgm_jax.flow.weights import load_weights

FlowFn = Callable[[DecodedClip], Float32[np.ndarray, "frames rows columns 2"]]
"""Motion of frames 1, 2, … of a clip, per 8x8 cell, in pixels of the clip."""

# Decision: flow is rounded to 1/16 pixel (codecs round to 1/4), which makes the files three times
# smaller.
_STEPS_PER_PIXEL = 16
_FRAMES_PER_READ = 128
_PAIRS_PER_CALL = 8


def make_raft_flow(weights: str | os.PathLike, num_flow_updates: int = 12) -> FlowFn:
    """Flow by RAFT-Small, compiled once per frame size.

    Raises:
        CheckpointError: The file `weights` is missing or does not fit.
    """
    params = jax.device_put(load_weights(weights))

    @jax.jit
    def estimate(
        params: Any,
        luma: UInt8[Array, "t h w"],
        chroma: UInt8[Array, "t h/2 w/2 2"],
        yuv_to_rgb: Float[Array, "3 4"],
    ) -> Float[Array, "t-1 h/8 w/8 2"]:
        clip = _to_rgb(luma, chroma, yuv_to_rgb)[None]
        return raft.flow_motion(params, clip, num_flow_updates=num_flow_updates)[0][0, 1:]

    def flow(clip: DecodedClip) -> Float32[np.ndarray, "frames rows columns 2"]:
        num_pairs = len(clip.luma) - 1
        motion = []
        for first in range(0, num_pairs, _PAIRS_PER_CALL):
            # The last group is padded with its last frame, so that every call has one shape.
            frames = np.minimum(np.arange(first, first + _PAIRS_PER_CALL + 1), num_pairs)
            motion.append(estimate(params, clip.luma[frames], clip.chroma[frames], clip.yuv_to_rgb))
        return np.concatenate(jax.device_get(motion))[:num_pairs]

    return flow


def _to_rgb(
    luma: UInt8[Array, "t h w"],
    chroma: UInt8[Array, "t h/2 w/2 2"],
    yuv_to_rgb: Float[Array, "3 4"],
) -> Float[Array, "t h w 3"]:
    """RGB in [0, 1]; chroma samples are taken to lie at the centre of their four luma pixels."""
    luma, chroma = luma[..., None].astype(jnp.float32), chroma.astype(jnp.float32)
    chroma = jax.image.resize(chroma, (*luma.shape[:3], 2), "linear")
    yuv = jnp.concatenate([luma, chroma], axis=-1)
    rgb = jnp.einsum("thwc,dc->thwd", yuv, yuv_to_rgb[:, :3], precision=jax.lax.Precision.HIGHEST)
    return jnp.clip(rgb + yuv_to_rgb[:, 3], 0, 1)


def make_dis_flow() -> FlowFn:
    """Flow without a network: OpenCV's Dense Inverse Search (Kroeger et al., 2016).

    *Decision*: its preset "medium" is the most accurate at the edges of moving objects.

    Raises:
        ConfigError: OpenCV, an optional dependency, is not installed.
    """
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError as error:
        raise ConfigError(
            "flow by Dense Inverse Search needs OpenCV: pip install opencv-python-headless"
        ) from error

    def flow(clip: DecodedClip) -> Float32[np.ndarray, "frames rows columns 2"]:
        motion = []
        for previous, frame in zip(clip.luma[:-1], clip.luma[1:], strict=True):
            # A new object each time: it keeps state from the last call.
            search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
            # As in `raft.flow_motion`: from this frame to the previous one, negated.
            pixels = -search.calc(frame, previous, None)
            motion.append(cell_means(pixels, flow_size=frame.shape, source_size=frame.shape))
        return np.stack(motion)

    return flow


def processing_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Size (height, width) to which source frames are scaled before their flow is estimated.

    *Decision*: large frames are scaled down to about `short_side`, small ones are not enlarged,
    and each side is rounded to a multiple of 8 and at least 64, which changes the aspect ratio
    slightly; the vectors are scaled back separately along each axis.
    """
    scale = min(1.0, short_side / min(height, width))
    height, width = (
        max(raft.SMALLEST_SIDE, round(side * scale / raft.FEATURE_STRIDE) * raft.FEATURE_STRIDE)
        for side in (height, width)
    )
    return height, width


def video_flow(
    video: Video, flow: FlowFn, *, short_side: int = 256
) -> Float16[np.ndarray, "frames rows columns 2"]:
    """Displacement (dx, dy) of each 8x8 cell of each frame from the previous frame.

    In source pixels; zero for frame 0. The flow is estimated at `processing_size`.

    Raises:
        VideoError: A frame cannot be read, or its flow is not finite.
    """
    source_size = (video.height, video.width)
    size = processing_size(*source_size, short_side)
    cells = [-(-side // MOTION_CELL) for side in source_size]
    motion = np.zeros((video.num_frames, *cells, 2), np.float16)
    for first in range(1, video.num_frames, _FRAMES_PER_READ):
        stop = min(first + _FRAMES_PER_READ, video.num_frames)
        window = Window(None if size == source_size else size)
        clip = video.read(range(first - 1, stop), windows=[window], motion="none")
        means = cell_means(flow(clip), flow_size=size, source_size=source_size)
        if not np.isfinite(means).all():
            raise VideoError(
                f"{video.name}: the flow of frames {first} to {stop - 1} is not finite; check "
                "the weights"
            )
        motion[first:stop] = np.round(means * _STEPS_PER_PIXEL) / _STEPS_PER_PIXEL
    return motion


def cell_means(
    flow: Float[np.ndarray, "*t rows columns 2"],
    *,
    flow_size: tuple[int, int],
    source_size: tuple[int, int],
) -> Float32[np.ndarray, "*t cell_rows cell_columns 2"]:
    """Mean flow over each 8x8 cell of the source frame (*decision*: the area-weighted mean).

    Args:
        flow: (dx, dy) on any grid that divides the frame evenly, for example one value per pixel.
        flow_size: (height, width) of the frame in whose pixels the flow is measured.
        source_size: (height, width) of the source frame.

    Returns:
        (dx, dy) in source pixels. Cells at the right and bottom edge may be smaller than 8x8.
    """
    rows = _area_weights(flow.shape[-3], source_size[0])
    columns = _area_weights(flow.shape[-2], source_size[1])
    means = np.einsum("ir,...rcd->...icd", rows, flow, optimize=True)
    means = np.einsum("jc,...icd->...ijd", columns, means, optimize=True)
    scale = np.divide(source_size, flow_size)[::-1]
    return (means * scale).astype(np.float32)


def _area_weights(values: int, length: int) -> Float[np.ndarray, "cells {values}"]:
    """Fraction of each cell that each value covers, along an axis of `length` source pixels."""
    edges = np.arange(values + 1) * (length / values)
    starts = np.arange(0, length, MOTION_CELL)[:, None]
    ends = np.minimum(starts + MOTION_CELL, length)
    overlaps = np.minimum(ends, edges[1:]) - np.maximum(starts, edges[:-1])
    return np.maximum(overlaps, 0) / (ends - starts)
