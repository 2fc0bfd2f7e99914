"""Optical flow without a network: OpenCV's Dense Inverse Search (Kroeger et al., 2016).

It needs no weights and no accelerator. OpenCV is optional: pip install opencv-python-headless.
"""

from types import ModuleType

import numpy as np
from jaxtyping import Float32, UInt8

from mgm_jax.errors import ConfigError
from mgm_jax.flow.cells import cell_means

PRESETS = ("ultrafast", "fast", "medium")
# OpenCV 5.0 crashes on frames of 12 pixels.
_SMALLEST_SIDE = 32


def load_opencv() -> ModuleType:
    """Imports OpenCV.

    Returns:
        The module `cv2`.

    Raises:
        ConfigError: It is not installed.
    """
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
    """Motion map of a frame by Dense Inverse Search, in the form of the codec's.

    As in `raft.flow_motion`, the flow is estimated from this frame to the one before, averaged
    over the cells, and negated.

    Args:
        luma_previous: Y plane of the frame before.
        luma: Y plane of this frame.
        preset: One of `PRESETS`. Decision: "medium", which is truest at the edges of moving
            things; "fast" takes about a tenth of its time.

    Returns:
        Displacement (dx, dy) from the frame before, `[ceil(h/8), ceil(w/8), 2]`, in pixels.

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
    # A new one each time: it keeps the last flow, and is not safe to share between threads.
    search = cv2.DISOpticalFlow_create(getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{preset.upper()}"))
    flow = search.calc(luma, luma_previous, None)
    return cell_means(-flow, flow_size=luma.shape, source_size=luma.shape)
