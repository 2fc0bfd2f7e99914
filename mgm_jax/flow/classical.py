"""Optical flow without a network: OpenCV's Dense Inverse Search (Kroeger et al., 2016)."""

from types import ModuleType

import numpy as np
from jaxtyping import Float32, UInt8

from mgm_jax.errors import ConfigError
from mgm_jax.flow.cells import cell_means

PRESETS = ("ultrafast", "fast", "medium")
# OpenCV 5.0 crashes on frames of 12 pixels.
_SMALLEST_SIDE = 32


def load_opencv() -> ModuleType:
    """Imports OpenCV, which is optional; raises `ConfigError` if it is not installed."""
    try:
        import cv2
    except ImportError as error:
        raise ConfigError(
            "flow by Dense Inverse Search needs OpenCV: pip install opencv-python-headless"
        ) from error
    return cv2


def dis_flow(
    luma_previous: UInt8[np.ndarray, "h w"],
    luma: UInt8[np.ndarray, "h w"],
    *,
    preset: str = "medium",
) -> Float32[np.ndarray, "rows columns 2"]:
    """Motion map of a frame by Dense Inverse Search, in the form of a codec's.

    As in `raft.flow_motion`, the flow is estimated from this frame to the previous one, averaged
    over the cells, and negated.

    Args:
        luma_previous: Y plane of the previous frame.
        luma: Y plane of this frame.
        preset: One of `PRESETS`. *Decision*: "medium", the most accurate at the edges of moving
            objects; "fast" takes about a tenth of its time.

    Returns:
        Displacement (dx, dy) from the previous frame, `[ceil(h/8), ceil(w/8), 2]`, in pixels.

    Raises:
        ConfigError: OpenCV is not installed.
        ValueError: The frames are too small, or there is no such preset.
    """
    cv2 = load_opencv()
    if preset not in PRESETS:
        raise ValueError(f"no DIS preset {preset!r}; choose one of {', '.join(PRESETS)}")
    if min(luma.shape) < _SMALLEST_SIDE:
        raise ValueError(
            f"Dense Inverse Search takes frames of at least {_SMALLEST_SIDE} pixels a side, not "
            f"{luma.shape[1]}x{luma.shape[0]} (width x height); enlarge them"
        )
    # Not reused: it keeps the last flow, and must not be shared between threads.
    search = cv2.DISOpticalFlow_create(getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{preset.upper()}"))
    flow = search.calc(luma, luma_previous, None)
    return cell_means(-flow, flow_size=luma.shape, source_size=luma.shape)
