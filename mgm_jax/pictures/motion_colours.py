"""Motion maps as colours: the direction is the hue, the length is the saturation."""

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
_ROUND_NUMBERS = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
_WHEEL_SIZE = 160


def motion_scale(
    motion: Float[np.ndarray, "T mh mw 2"], motion_valid: Bool[np.ndarray, " T"]
) -> float:
    """The length of motion that is drawn in full colour: a round number of pixels, at least 1.

    It is near the 99th percentile of a clip's non-zero lengths. With the maximum, a few outliers
    among codec vectors would leave all other motion pale.
    """
    lengths = np.linalg.norm(motion[motion_valid], axis=-1)
    lengths = lengths[lengths > 0]
    longest = max(float(np.percentile(lengths, 99)), 1.0) if lengths.size else 1.0
    power = 10.0 ** np.floor(np.log10(longest))
    return next((n * power for n in _ROUND_NUMBERS if n * power >= longest - 1e-9), 10 * power)


def motion_to_colours(
    motion: Float[np.ndarray, "*shape 2"], scale: float
) -> UInt8[np.ndarray, "*shape 3"]:
    """RGB colours of displacements (dx, dy), y downwards.

    No motion is white; rightwards is red, downwards yellow, leftwards light blue, upwards violet.
    Motion longer than `scale` pixels keeps its hue and is a quarter darker.
    """
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
    """Draws displacements (dx, dy), one square per motion cell; frames without motion are hatched.

    Motion of `scale` pixels has full colour. `size` is (height, width) of the pictures.
    """
    rows, columns = np.indices(size)
    hatching = np.where((rows + columns) % 12 < 2, 205, 242)[..., None]
    pictures = np.empty((len(motion), *size, 3), np.uint8)
    for picture, cells, valid in zip(pictures, motion, motion_valid, strict=True):
        colours = Image.fromarray(motion_to_colours(cells, scale))
        cells_drawn = np.asarray(colours.resize(size[::-1], Image.Resampling.NEAREST))
        picture[:] = cells_drawn if valid else hatching
    return pictures


def colour_wheel() -> UInt8[np.ndarray, "h w 3"]:
    """A disc with the colour of each direction, whose rim stands for motion in full colour."""
    fine = 4 * _WHEEL_SIZE
    axis = (np.arange(fine) + 0.5) / fine * 2 - 1
    vectors = np.stack(np.meshgrid(axis, axis), axis=-1)
    colours = motion_to_colours(vectors, 1.0)
    colours[np.linalg.norm(vectors, axis=-1) > 1] = 255
    return np.asarray(Image.fromarray(colours).reduce(4))
