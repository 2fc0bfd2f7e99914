"""Motion maps as colours: direction is hue, length is saturation."""

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

# The colour wheel of Baker et al., "A Database and Evaluation Methodology for Optical Flow"
# (IJCV 2011): positions of the pure hues on a circle of 55 steps, clockwise from "rightwards".
_WHEEL_STEPS = 55
_HUE_POSITIONS = (0, 15, 21, 25, 36, 49, 55)
_HUES = np.array(
    [(1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1), (1, 0, 0)], np.float64
)
_SCALES = (1, 1.5, 2, 3, 4, 5, 6, 8)


def motion_scale(
    motion: Float[np.ndarray, "T mh mw 2"],
    motion_valid: Bool[np.ndarray, " T"],
    percentile: float = 99.0,
) -> float:
    """Length that gets the full colour: a round number near the longest vectors of the clip.

    A percentile and not the maximum, so that a few stray codec vectors do not bleach the rest
    (decision of this project).

    Args:
        motion: Displacements (dx, dy), pixels.
        motion_valid: Frames whose map counts.
        percentile: Which of the clip's non-zero lengths must still fit.

    Returns:
        1, 1.5, 2, 3, 4, 5, 6 or 8 times a power of ten, in pixels; at least 1.
    """
    lengths = np.linalg.norm(motion[motion_valid], axis=-1)
    lengths = lengths[lengths > 0]
    longest = max(float(np.percentile(lengths, percentile)), 1.0) if lengths.size else 1.0
    power = 10.0 ** np.floor(np.log10(longest))
    candidates = [step * power for step in (*_SCALES, 10)]
    return float(next((c for c in candidates if c >= longest * (1 - 1e-9)), candidates[-1]))


def motion_to_colours(
    motion: Float[np.ndarray, "*shape 2"], scale: float
) -> UInt8[np.ndarray, "*shape 3"]:
    """Colours of displacements on the optical-flow wheel of Baker et al.

    No motion is white; rightwards is red, downwards yellow, leftwards light blue, upwards violet.
    Longer than `scale` keeps the hue, a quarter darker, as they do.

    Args:
        motion: Displacements (dx, dy), pixels, y downwards.
        scale: Length drawn in the full colour, pixels.

    Returns:
        RGB.

    Raises:
        ValueError: If the scale is not positive.
    """
    if not scale > 0:
        raise ValueError(f"scale is {scale}; pass a positive length in pixels (motion_scale)")
    dx, dy = motion[..., 0].astype(np.float64), motion[..., 1].astype(np.float64)
    position = np.arctan2(dy, dx) / (2 * np.pi) % 1.0 * _WHEEL_STEPS
    hue = np.stack([np.interp(position, _HUE_POSITIONS, _HUES[:, c]) for c in range(3)], axis=-1)
    length = (np.hypot(dx, dy) / scale)[..., None]
    colours = np.where(length <= 1, 1 - length * (1 - hue), 0.75 * hue)
    return np.round(colours * 255).astype(np.uint8)


def motion_pictures(
    motion: Float[np.ndarray, "T mh mw 2"],
    motion_valid: Bool[np.ndarray, " T"],
    size: tuple[int, int],
    scale: float,
) -> UInt8[np.ndarray, "T height width 3"]:
    """One colour picture per motion map; the cells stay visible as squares.

    Args:
        motion: Displacements (dx, dy), pixels.
        motion_valid: False where there is no map: that picture is hatched.
        size: (height, width) of the pictures, pixels.
        scale: Length drawn in the full colour, pixels.

    Returns:
        RGB.
    """
    height, width = size
    pictures = np.empty((len(motion), height, width, 3), np.uint8)
    for picture, cells, valid in zip(pictures, motion, motion_valid, strict=True):
        if valid:
            image = Image.fromarray(motion_to_colours(cells, scale))
            picture[:] = np.asarray(image.resize((width, height), Image.Resampling.NEAREST))
        else:
            picture[:] = _hatching(height, width)
    return pictures


def colour_wheel(diameter: int) -> UInt8[np.ndarray, "diameter diameter 3"]:
    """The legend of `motion_to_colours`: a disc whose rim is the full colour, on white.

    Args:
        diameter: Pixels.

    Returns:
        RGB.
    """
    fine = diameter * 4
    axis = (np.arange(fine) + 0.5) / fine * 2 - 1
    vectors = np.stack(np.meshgrid(axis, axis), axis=-1)
    colours = motion_to_colours(vectors, 1.0)
    colours[np.linalg.norm(vectors, axis=-1) > 1] = 255
    return np.asarray(Image.fromarray(colours).reduce(4))


def _hatching(height: int, width: int) -> UInt8[np.ndarray, "height width 3"]:
    rows, columns = np.mgrid[:height, :width]
    stroke = (rows + columns) % 12 < 2
    return np.where(stroke[..., None], 205, 242).astype(np.uint8).repeat(3, axis=-1)
