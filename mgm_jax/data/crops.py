"""Crops and flips: the same geometry for the pixels and for the motion of a clip.

Coordinates are luma pixels with the origin at the top-left corner of the top-left pixel, so pixel
`i` covers `[i, i + 1)`. There are three frames of reference: the *source* frame as displayed, the
*scaled* frame (the source, scaled down on the host if it is larger than the host crop), and the
*output* clip that the model sees. The *host crop* is the square that is sent to the device; the
device cuts and resizes the crop itself out of it.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from mgm_jax.data.motion.codec_vectors import MOTION_CELL

_MAX_DISTORTION = 1  # Steps between the scales of a multi-scale crop's height and width.
_ASPECT_RATIOS = (3 / 4, 4 / 3)  # Width over height of a random resized crop.
# Corners, edge centres and centre, then the four quarter points: (row, column) in quarters.
_FIXED_OFFSETS = (
    *((row, column) for row in (0, 2, 4) for column in (0, 2, 4)),
    *((row, column) for row in (1, 3) for column in (1, 3)),
)


@dataclasses.dataclass(frozen=True)
class Crop:
    """A rectangle of the scaled frame, in luma pixels, mirrored left to right if `flip`."""

    top: float
    left: float
    height: float
    width: float
    flip: bool = False


def scaled_size(height: int, width: int, host_crop_size: int) -> tuple[int, int]:
    """Size to which the host scales a source frame so that its short side fits the host crop."""
    short_side = min(height, width)
    if short_side <= host_crop_size:
        return height, width
    scale = host_crop_size / short_side
    return max(host_crop_size, round(height * scale)), max(host_crop_size, round(width * scale))


def multi_scale_crop(
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    size: int,
    scales: Sequence[float] = (1.0, 0.875, 0.75, 0.66),
    flip: bool = False,
) -> Crop:
    """Draws a crop of a frame as TSN's and VideoMAE's MultiScaleCrop do (Table 5).

    Its sides are the frame's short side times a scale; the scales of height and width may differ
    by one step; its position is one of 13 fixed ones. A side within 3 pixels of the output's `size`
    becomes `size`. Offsets are rounded down to even pixels, to keep the chroma planes of 4:2:0
    video aligned (*decision*). With `flip`, half of the crops are mirrored.
    """
    short_side = min(height, width)
    sides = [max(1, int(short_side * scale)) for scale in scales]
    sides = [size if abs(side - size) < 3 and size <= short_side else side for side in sides]
    pairs = [
        (crop_height, crop_width)
        for i, crop_height in enumerate(sides)
        for j, crop_width in enumerate(sides)
        if abs(i - j) <= _MAX_DISTORTION
    ]
    crop_height, crop_width = pairs[rng.integers(len(pairs))]
    row, column = _FIXED_OFFSETS[rng.integers(len(_FIXED_OFFSETS))]
    top = row * ((height - crop_height) // 4)
    left = column * ((width - crop_width) // 4)
    mirrored = flip and bool(rng.random() < 0.5)
    return Crop(top - top % 2, left - left % 2, crop_height, crop_width, mirrored)


def centre_crop(height: int, width: int, flip: bool = False) -> Crop:
    """The largest central square of a frame, its offsets rounded down to even pixels."""
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return Crop(top - top % 2, left - left % 2, side, side, flip)


def random_resized_crop(
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    area: tuple[float, float] = (0.08, 1.0),
    flip: bool = False,
) -> Crop:
    """Draws a crop of a frame as torchvision's RandomResizedCrop does (finetuning).

    Its area is a fraction of the frame's between the two of `area`; its aspect ratio is drawn
    uniformly in the logarithm. After ten draws that do not fit, it is the largest central crop with
    an allowed aspect ratio. With `flip`, half of the crops are mirrored.
    """
    mirrored = flip and bool(rng.random() < 0.5)
    for _ in range(10):
        pixels = height * width * rng.uniform(*area)
        ratio = np.exp(rng.uniform(*np.log(_ASPECT_RATIOS)))
        crop_height, crop_width = round(np.sqrt(pixels / ratio)), round(np.sqrt(pixels * ratio))
        if 0 < crop_height <= height and 0 < crop_width <= width:
            top = int(rng.integers(height - crop_height + 1))
            left = int(rng.integers(width - crop_width + 1))
            return Crop(top, left, crop_height, crop_width, mirrored)
    crop_height = min(height, round(width / _ASPECT_RATIOS[0]))
    crop_width = min(width, round(height * _ASPECT_RATIOS[1]))
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    return Crop(top, left, crop_height, crop_width, mirrored)


def random_square(
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    scales: Sequence[float],
    flip: bool = False,
) -> Crop:
    """Draws a square anywhere in a frame, its side the short side times one of the scales.

    Finetuning on AVA: VideoMAE cuts 224 pixels out of a short side of 256, a scale of 0.875. With
    `flip`, half of the crops are mirrored.
    """
    side = min(height, width) * scales[int(rng.integers(len(scales)))]
    top, left = rng.uniform(0, height - side), rng.uniform(0, width - side)
    return Crop(top, left, side, side, flip and bool(rng.random() < 0.5))


def spatial_views(height: int, width: int, num_views: int) -> list[Crop]:
    """Squares of the short side's length, spread along the long side for testing.

    VideoMAE's rule: three views take both ends and the middle. A single view is the centre. Offsets
    are rounded down to even pixels (*decision*): that of a prepared video is a host crop then.
    """
    side = min(height, width)
    if num_views == 1:
        return [centre_crop(height, width)]
    free = max(height, width) - side
    offsets = [int(view * free / (num_views - 1)) // 2 * 2 for view in range(num_views)]
    if height > width:
        return [Crop(offset, 0, side, side) for offset in offsets]
    return [Crop(0, offset, side, side) for offset in offsets]


def fit_host_crop(
    crop: Crop, frame_size: tuple[int, int], host_crop_size: int
) -> tuple[Crop, tuple[int, int]]:
    """Scales a frame, and the crop drawn in it, down until the crop fits the host crop.

    Returns the crop in the frame of the new size, and that (height, width).
    """
    # Two pixels of room: the host crop starts at an even pixel, the crop anywhere.
    reach = max(crop.height + crop.top % 2, crop.width + crop.left % 2)
    if reach <= host_crop_size:
        return crop, frame_size
    factor = (host_crop_size - 2) / reach
    height, width = (max(1, int(side * factor)) for side in frame_size)
    rows, columns = height / frame_size[0], width / frame_size[1]
    scaled = crop.top * rows, crop.left * columns, crop.height * rows, crop.width * columns
    return Crop(*scaled, crop.flip), (height, width)


def host_crop_region(
    crop: Crop, frame_size: tuple[int, int], host_crop_size: int
) -> tuple[int, int, int, int]:
    """The host crop that holds a crop: (top, left, height, width) in the scaled frame, all even.

    The crop, which must fit (`fit_host_crop`), is in its middle, or as near to it as the frame's
    border allows. It reaches past the ends of a smaller frame, where it is padded.
    """
    corner = []
    sides = ((crop.top, crop.height, frame_size[0]), (crop.left, crop.width, frame_size[1]))
    for start, length, whole in sides:
        last = start // 2 * 2
        first = max(0, -(-(start + length - host_crop_size) // 2) * 2)
        middle = min(start + (length - host_crop_size) / 2, whole - host_crop_size) // 2 * 2
        corner.append(int(min(max(middle, first), last)))
    return corner[0], corner[1], host_crop_size, host_crop_size


def crop_motion(
    motion: Float[np.ndarray, "t source_rows source_columns 2"],
    crop: Crop,
    *,
    source_size: tuple[int, int],
    frame_size: tuple[int, int],
    size: int,
) -> Float[np.ndarray, "t rows columns 2"]:
    """Applies the crop, the resize and the flip of the pixels to motion maps.

    Each output cell takes the vector of the source cell under its centre (nearest neighbour, as
    Eq. 6 upsamples); lengths scale with the pixels, and a flip negates dx.

    Motion is the displacement (dx, dy) per 8x8 cell, in pixels of the source and then of the output
    clip, whose side is `size`, a multiple of 8. The crop is in the scaled frame; the other sizes
    are (height, width).
    """
    source_per_frame = np.divide(source_size, frame_size)
    centres = (np.arange(size // MOTION_CELL) + 0.5) * MOTION_CELL / size
    rows = (crop.top + centres * crop.height) * source_per_frame[0]
    columns = (crop.left + (1 - centres if crop.flip else centres) * crop.width) * (
        source_per_frame[1]
    )
    row_cells = np.clip(rows // MOTION_CELL, 0, motion.shape[1] - 1).astype(int)
    column_cells = np.clip(columns // MOTION_CELL, 0, motion.shape[2] - 1).astype(int)
    scale_x = size / crop.width / source_per_frame[1] * (-1 if crop.flip else 1)
    scale_y = size / crop.height / source_per_frame[0]
    # One complex number per cell, dx + i dy: gathering pairs takes several times as long.
    cells = np.ascontiguousarray(motion, np.float32).view(np.complex64)[..., 0]
    cropped = cells.take(row_cells, axis=1).take(column_cells, axis=2)
    cropped.real *= np.float32(scale_x)
    cropped.imag *= np.float32(scale_y)
    return cropped.view(np.float32).reshape(*cropped.shape, 2)
