"""Masks drawn over frames: what is hidden, what is visible, and boxes."""

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw

_GREY = (150, 150, 150)
_TINT = (36, 92, 190)
_LUMA = (0.299, 0.587, 0.114)
_OUTLINE = (255, 255, 255)
BOX = (255, 214, 10)


def mask_per_pixel(
    mask: Bool[np.ndarray, "t h w"], shape: tuple[int, int, int]
) -> Bool[np.ndarray, "T H W"]:
    """Repeats each token's mask over the pixels of its tubelet.

    Args:
        mask: True = masked.
        shape: (T, H, W) of the clip; the mask's grid divides it.

    Returns:
        True where a pixel is masked.

    Raises:
        ValueError: If the grid does not divide the clip.
    """
    if any(pixels % cells for pixels, cells in zip(shape, mask.shape, strict=True)):
        raise ValueError(
            f"mask has a grid of {mask.shape}, which does not divide the clip's {shape} pixels; "
            "pass bool [t, h, w], one entry per tubelet"
        )
    for axis, (pixels, cells) in enumerate(zip(shape, mask.shape, strict=True)):
        mask = mask.repeat(pixels // cells, axis=axis)
    return mask


def visible_input(
    frames: UInt8[np.ndarray, "T H W 3"],
    mask: Bool[np.ndarray, "t h w"],
    grey: tuple[int, int, int] = _GREY,
    opacity: float = 1.0,
) -> UInt8[np.ndarray, "T H W 3"]:
    """What the encoder sees: masked tubelets flat grey, as in the MAE papers' figures.

    Args:
        frames: RGB.
        mask: True = masked.
        grey: Colour of masked tubelets.
        opacity: 1 hides their content, less lets it shine through.

    Returns:
        RGB; visible pixels unchanged.
    """
    hidden = mask_per_pixel(mask, frames.shape[:3])
    return np.where(hidden[..., None], _blend(frames, grey, opacity), frames)


def mask_overlay(
    frames: UInt8[np.ndarray, "T H W 3"],
    mask: Bool[np.ndarray, "t h w"],
    tint: tuple[int, int, int] = _TINT,
    opacity: float = 0.55,
    outline: int = 1,
    cell_grid: bool = False,
) -> UInt8[np.ndarray, "T H W 3"]:
    """The mask over the frames: masked tubelets in one tint, their content recognisable.

    Their own colours are taken out first, so that nothing in the frames looks like a mask.

    Args:
        frames: RGB.
        mask: True = masked.
        tint: Colour laid over masked tubelets.
        opacity: Of the tint.
        outline: Width of the light line along the inner edge of the masked region, pixels.
        cell_grid: Whether to draw the tubelets' borders within the masked region.

    Returns:
        RGB; visible pixels unchanged.
    """
    hidden = mask_per_pixel(mask, frames.shape[:3])
    grey = (frames @ np.array(_LUMA)).round().astype(np.uint8)[..., None]
    picture = np.where(hidden[..., None], _blend(grey, tint, opacity), frames)
    line = hidden & ~_eroded(hidden, outline)
    if cell_grid:
        cell_height, cell_width = (frames.shape[i] // mask.shape[i] for i in (1, 2))
        borders = np.zeros(hidden.shape[1:], bool)
        borders[::cell_height] = True
        borders[:, ::cell_width] = True
        picture = np.where((hidden & borders)[..., None], _blend(picture, _OUTLINE, 0.3), picture)
    return np.where(line[..., None], _blend(picture, _OUTLINE, 0.75), picture)


def draw_boxes(
    frames: UInt8[np.ndarray, "T H W 3"],
    boxes: Float[np.ndarray, "T k 4"],
    colour: tuple[int, int, int] = BOX,
    width: int = 2,
) -> UInt8[np.ndarray, "T H W 3"]:
    """Draws the boxes of each frame, their lines inside the pixels they span.

    Args:
        frames: RGB.
        boxes: (x1, y1, x2, y2), pixels of the frames, as `mgm_jax.data.boxes` has them; one with
            NaN is not drawn.
        colour: Of the lines.
        width: Of the lines, pixels.

    Returns:
        RGB.
    """
    pictures = frames.copy()
    for picture, frame_boxes in zip(pictures, boxes, strict=True):
        image = Image.fromarray(picture)
        for box in frame_boxes[~np.isnan(frame_boxes).any(axis=-1)]:
            left, top, right, bottom = np.round(box).astype(int).tolist()
            # Pillow's corners are pixels, and both belong to the rectangle.
            corners = (left, top, max(right - 1, left), max(bottom - 1, top))
            ImageDraw.Draw(image).rectangle(corners, outline=colour, width=width)
        picture[:] = np.asarray(image)
    return pictures


def paste_visible(
    reconstruction: UInt8[np.ndarray, "T H W 3"],
    frames: UInt8[np.ndarray, "T H W 3"],
    mask: Bool[np.ndarray, "t h w"],
) -> UInt8[np.ndarray, "T H W 3"]:
    """The reconstruction in masked tubelets, the input in visible ones.

    Args:
        reconstruction: RGB from the model.
        frames: RGB of the input.
        mask: True = masked.

    Returns:
        RGB.
    """
    hidden = mask_per_pixel(mask, frames.shape[:3])
    return np.where(hidden[..., None], reconstruction, frames)


def _blend(
    frames: np.ndarray, colour: tuple[int, int, int], opacity: float
) -> UInt8[np.ndarray, "T H W 3"]:
    mixed = frames.astype(np.float32) * (1 - opacity) + np.array(colour, np.float32) * opacity
    return np.round(mixed).astype(np.uint8)


def _eroded(region: np.ndarray, pixels: int) -> np.ndarray:
    """The region without a rim of so many pixels; the frame's border is not a rim."""
    for axis in (1, 2):
        for _ in range(pixels):
            padding = [(1, 1) if a == axis else (0, 0) for a in range(3)]
            padded = np.pad(region, padding, mode="edge")
            before, after = (
                np.take(padded, np.arange(start, start + region.shape[axis]), axis=axis)
                for start in (0, 2)
            )
            region = region & before & after
    return region
