"""Pictures of attention maps: the paper's Figures 5 and 6."""

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from mgm_jax.pictures import mask_overlays
from mgm_jax.pictures.clip_rows import PictureClip
from mgm_jax.pictures.layout import LEGEND_SIZE, Row, panels, resize, sheet, tile_size

QUERY = (0, 220, 230)
# From no attention to the most: black, purple, red, orange, pale yellow.
_RAMP = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
_OPACITY = 0.6
_LUMA = (0.299, 0.587, 0.114)
# The brightest colour is for weights that all but this share of a clip's tokens stay below: a few
# tokens far above all others would leave the rest black.
_SATURATED_SHARE = 0.005


def attention_sheet(
    frames: Float[np.ndarray, "T H W 3"] | UInt8[np.ndarray, "T H W 3"],
    motion: Float[np.ndarray, "T mh mw 2"],
    motion_valid: Bool[np.ndarray, " T"],
    attention: Float[np.ndarray, "t h w"],
    query: tuple[int, int, int],
    *,
    clip_id: str,
    subtitle: str,
    boxes: Float[np.ndarray, "T k 4"] | None = None,
) -> UInt8[np.ndarray, "height width 3"]:
    """Frames, motion and attention, a column per tubelet.

    Args:
        frames: RGB, float in [0, 1] or uint8.
        motion: Displacements (dx, dy), pixels of the frames.
        motion_valid: Frames that have a motion map.
        attention: Weights of the tokens.
        query: Step, row and column of the token that attends; outlined.
        clip_id: First line.
        subtitle: Second line.
        boxes: (x1, y1, x2, y2), pixels of the frames; one with NaN is not drawn.

    Returns:
        RGB on white.

    Raises:
        ValueError: If the arrays do not belong together; the message names the one that is off.
    """
    clip = _checked(frames, motion, motion_valid, attention, boxes)
    size = tile_size(clip.frames.shape[1:3], attention.shape[1:], len(attention))
    rows = _rows(clip.per_step(len(attention)), attention, query, size)
    return sheet(rows, clip.column_labels(len(attention)), clip_id, subtitle)


def attention_animation(
    frames: Float[np.ndarray, "T H W 3"] | UInt8[np.ndarray, "T H W 3"],
    motion: Float[np.ndarray, "T mh mw 2"],
    motion_valid: Bool[np.ndarray, " T"],
    attention: Float[np.ndarray, "t h w"],
    query: tuple[int, int, int],
    *,
    clip_id: str,
    subtitle: str,
    boxes: Float[np.ndarray, "T k 4"] | None = None,
) -> UInt8[np.ndarray, "T height width 3"]:
    """The rows of `attention_sheet` as panels, over all frames; arguments as there."""
    clip = _checked(frames, motion, motion_valid, attention, boxes)
    size = tile_size(clip.frames.shape[1:3], attention.shape[1:], columns=5)
    return panels(_rows(clip, attention, query, size), clip_id, subtitle)


def full_weight(attention: Float[np.ndarray, "t h w"]) -> float:
    """The weight from which on a token has the brightest colour."""
    return float(np.quantile(attention, 1 - _SATURATED_SHARE))


def attention_overlay(
    frames: UInt8[np.ndarray, "n H W 3"], attention: Float[np.ndarray, "t h w"]
) -> UInt8[np.ndarray, "n H W 3"]:
    """The frames in grey, under colours that are the brighter the more attention they get.

    Args:
        frames: RGB; as many for each step as for every other.
        attention: Weights of the tokens; drawn smoothly between their centres.

    Returns:
        RGB.
    """
    height, width = frames.shape[1:3]
    full = max(full_weight(attention), float(np.finfo(np.float32).tiny))
    shares = np.clip(attention / full, 0, 1).astype(np.float32)
    smooth = [
        np.asarray(Image.fromarray(s).resize((width, height), Image.Resampling.BILINEAR))
        for s in shares
    ]
    colours = _colours(np.stack(smooth)).repeat(len(frames) // len(attention), axis=0)
    grey = (frames @ np.array(_LUMA))[..., None]
    return np.round(grey * (1 - _OPACITY) + colours * _OPACITY).astype(np.uint8)


def _colours(shares: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape 3"]:
    stops = np.linspace(0, 1, len(_RAMP))
    return np.stack([np.interp(shares, stops, channel) for channel in np.transpose(_RAMP)], -1)


def _checked(
    frames: np.ndarray,
    motion: np.ndarray,
    motion_valid: np.ndarray,
    attention: np.ndarray,
    boxes: np.ndarray | None,
) -> PictureClip:
    return PictureClip.of(frames, motion, motion_valid, boxes, {"attention": attention > 0})


def _rows(
    clip: PictureClip,
    attention: np.ndarray,
    query: tuple[int, int, int],
    size: tuple[int, int],
) -> list[Row]:
    pictures = attention_overlay(resize(clip.frames, size), attention)
    step, row, column = query
    height, width = size[0] / attention.shape[1], size[1] / attention.shape[2]
    outlines = np.full((len(pictures), 1, 4), np.nan)
    per_step = len(pictures) // len(attention)
    outlines[step * per_step : (step + 1) * per_step] = (
        column * width,
        row * height,
        (column + 1) * width,
        (row + 1) * height,
    )
    pictures = mask_overlays.draw_boxes(pictures, outlines, QUERY)
    note = f"from step {step}, row {row}, column {column} (outlined)"
    bar = _colours(np.linspace(1, 0, LEGEND_SIZE)[:, None].repeat(LEGEND_SIZE // 4, axis=1))
    scale = f"to {full_weight(attention) * attention.size:.2g}x even"
    legend = (np.round(bar).astype(np.uint8), scale)
    return [*clip.rows(size), Row("attention", pictures, note, legend)]
