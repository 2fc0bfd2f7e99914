"""Masks, boxes and attention drawn over frames."""

import matplotlib
import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw

BOX = (255, 214, 10)
QUERY = (0, 220, 230)
MASKED = np.array((150, 150, 150), np.uint8)
"""Colour of masked tubelets, as in the figures of the MAE papers."""

_TINT, _TINT_OPACITY = (36, 92, 190), 0.55
_OUTLINE, _OUTLINE_OPACITY = (255, 255, 255), 0.75
_ATTENTION_COLOURS = matplotlib.colormaps["inferno"]
_ATTENTION_OPACITY = 0.6
_LUMA = (0.299, 0.587, 0.114)


def resize(
    frames: UInt8[np.ndarray, "n h w 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "n height width 3"]:
    """Resizes RGB pictures to (height, width), smoothly."""
    return np.stack([np.asarray(Image.fromarray(frame).resize(size[::-1])) for frame in frames])


def mask_per_pixel(
    mask: Bool[np.ndarray, "t h w"], shape: tuple[int, int, int]
) -> Bool[np.ndarray, "T H W"]:
    """Repeats the mask (True = masked) of each token over its pixels, to the `shape` (T, H, W)."""
    for axis, pixels in enumerate(shape):
        mask = mask.repeat(pixels // mask.shape[axis], axis=axis)
    return mask


def mask_overlay(
    frames: UInt8[np.ndarray, "T H W 3"], mask: Bool[np.ndarray, "t h w"]
) -> UInt8[np.ndarray, "T H W 3"]:
    """The frames with masked tubelets tinted and outlined; visible pixels stay as they are.

    Masked pixels lose their own colours first, so that nothing in the frames looks like a mask.
    """
    masked = mask_per_pixel(mask, frames.shape[:3])
    grey = (frames @ np.array(_LUMA))[..., None]
    picture = np.where(masked[..., None], _blend(grey, _TINT, _TINT_OPACITY), frames)
    padded = np.pad(masked, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows, columns = padded[:, :, 1:-1], padded[:, 1:-1]
    inner = rows[:, :-2] & rows[:, 2:] & columns[..., :-2] & columns[..., 2:]
    line = (masked & ~inner)[..., None]
    return np.where(line, _blend(picture, _OUTLINE, _OUTLINE_OPACITY), picture)


def paste_visible(
    reconstruction: UInt8[np.ndarray, "#T #H #W 3"] | UInt8[np.ndarray, "3"],
    frames: UInt8[np.ndarray, "T H W 3"],
    mask: Bool[np.ndarray, "t h w"],
) -> UInt8[np.ndarray, "T H W 3"]:
    """The reconstruction, or one colour, in masked tubelets, the frames in visible ones."""
    return np.where(mask_per_pixel(mask, frames.shape[:3])[..., None], reconstruction, frames)


def draw_boxes(
    frames: UInt8[np.ndarray, "T H W 3"],
    boxes: Float[np.ndarray, "T k 4"],
    colour: tuple[int, int, int] = BOX,
) -> UInt8[np.ndarray, "T H W 3"]:
    """Draws boxes (x1, y1, x2, y2) in pixels, with lines two pixels wide along their inside.

    Boxes with NaN are not drawn.
    """
    pictures = frames.copy()
    for picture, frame_boxes in zip(pictures, boxes, strict=True):
        image = Image.fromarray(picture)
        for box in frame_boxes[~np.isnan(frame_boxes).any(axis=-1)]:
            left, top, right, bottom = np.round(box).astype(int).tolist()
            # Pillow includes the last row and column.
            corners = (left, top, max(right - 1, left), max(bottom - 1, top))
            ImageDraw.Draw(image).rectangle(corners, outline=colour, width=2)
        picture[:] = np.asarray(image)
    return pictures


def attention_overlay(
    frames: UInt8[np.ndarray, "t H W 3"], attention: Float[np.ndarray, "t h w"], brightest: float
) -> UInt8[np.ndarray, "t H W 3"]:
    """The frames in grey under colours that are brighter where there is more attention.

    Weights are interpolated between the tokens' centres. Those of at least `brightest` have the
    brightest colour.
    """
    size = frames.shape[2:0:-1]
    shares = np.clip(attention / brightest, 0, 1).astype(np.float32)
    images = [Image.fromarray(s).resize(size, Image.Resampling.BILINEAR) for s in shares]
    smooth = np.stack([np.asarray(image) for image in images])
    grey = (frames @ np.array(_LUMA))[..., None]
    return _blend(grey, attention_colours(smooth), _ATTENTION_OPACITY)


def attention_colours(shares: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape 3"]:
    """RGB of shares of the brightest weight: black, purple, red, orange, pale yellow."""
    return _ATTENTION_COLOURS(shares, bytes=True)[..., :3]


def _blend(
    frames: np.ndarray, colour: tuple[int, int, int] | np.ndarray, opacity: float
) -> UInt8[np.ndarray, "T H W 3"]:
    mixed = frames * (1 - opacity) + np.asarray(colour, np.float64) * opacity
    return np.round(mixed).astype(np.uint8)
