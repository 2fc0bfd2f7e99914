"""Optical flow without a network: OpenCV's Dense Inverse Search (Kroeger et al., 2016)."""

from types import ModuleType

import numpy as np
from jaxtyping import Float32, UInt8

from mgm_jax.errors import ConfigError
from mgm_jax.flow.cells import cell_means

# OpenCV 5.0 crashes on frames of 12 pixels.
_SMALLEST_SIDE = 32


def load_opencv() -> ModuleType:
    """Imports OpenCV, an optional dependency; raises `ConfigError` if it is not installed."""
    try:
        import cv2
    except ImportError as error:
        raise ConfigError(
            "flow by Dense Inverse Search needs OpenCV: pip install opencv-python-headless"
        ) from error
    return cv2


def dis_flow(
    luma_previous: UInt8[np.ndarray, "h w"], luma: UInt8[np.ndarray, "h w"]
) -> Float32[np.ndarray, "rows columns 2"]:
    """Displacement (dx, dy) from the previous frame, in pixels, per 8x8 cell of this frame.

    As in `raft.flow_motion`, the flow is estimated from this frame to the previous one, averaged
    over each cell, and negated.

    *Decision*: OpenCV's preset "medium" is the most accurate at the edges of moving objects.

    Raises:
        ConfigError: OpenCV is not installed.
        ValueError: The frames are too small.
    """
    cv2 = load_opencv()
    if min(luma.shape) < _SMALLEST_SIDE:
        raise ValueError(
            f"Dense Inverse Search needs frames of at least {_SMALLEST_SIDE}x{_SMALLEST_SIDE} "
            f"pixels, not {luma.shape[1]}x{luma.shape[0]} (width x height); enlarge the frames"
        )
    # A new object per call: it keeps state from the last call and is not thread-safe.
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = search.calc(luma, luma_previous, None)
    return cell_means(-flow, flow_size=luma.shape, source_size=luma.shape)
