"""Sheets of a clip: frames, motion, masks, reconstructions, attention.

A sheet has a column for each tubelet and shows its first frame.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8

from mgm_jax.pictures import figures, motion_colours, overlays
from mgm_jax.pictures.figures import Row

_TILE_WIDTH = 180
_BOX_ON_WHITE = (70, 70, 74)
# Not the maximum: a few tokens can have so much attention that all others would be black.
_BRIGHTEST_QUANTILE = 0.995


@dataclasses.dataclass(frozen=True)
class Clip:
    """A clip to draw, by the first frame of each tubelet.

    Attributes:
        name: Text for the title.
        frames: RGB.
        motion: Displacements (dx, dy), pixels of the frames; the longest in each cell of a tubelet.
        motion_valid: Tubelets that have motion.
        boxes: (x1, y1, x2, y2) of k objects, pixels of the frames; one with NaN is not drawn.
        motion_scale: Length of motion in full colour, pixels.
        stride: Frames of a tubelet.
    """

    name: str
    frames: UInt8[np.ndarray, "t H W 3"]
    motion: Float[np.ndarray, "t mh mw 2"]
    motion_valid: Bool[np.ndarray, " t"]
    boxes: Float[np.ndarray, "t k 4"] | None
    motion_scale: float
    stride: int


def make_clip(
    name: str,
    frames: UInt8[np.ndarray, "T H W 3"],
    motion: Float[np.ndarray, "T mh mw 2"],
    motion_valid: Bool[np.ndarray, " T"],
    boxes: Float[np.ndarray, "T k 4"] | None,
    stride: int,
) -> Clip:
    """What to draw of all frames of a clip."""
    valid_motion = np.where(motion_valid[:, None, None, None], motion, 0)
    tubelets = valid_motion.reshape(-1, stride, *motion.shape[1:])
    longest = np.linalg.norm(tubelets, axis=-1).argmax(axis=1)[:, None, :, :, None]
    return Clip(
        name,
        frames[::stride],
        np.take_along_axis(tubelets, longest, axis=1)[:, 0],
        np.asarray(motion_valid.reshape(-1, stride).any(axis=1)),
        None if boxes is None else boxes[::stride],
        motion_colours.motion_scale(motion, motion_valid),
        stride,
    )


def draw(clip: Clip, rows: Sequence[Row], subtitle: str) -> UInt8[np.ndarray, "height width 3"]:
    """Draws a sheet of rows that one of the functions below made."""
    labels = [f"frame {clip.stride * tubelet}" for tubelet in range(len(clip.frames))]
    return figures.sheet(rows, labels, f"{clip.name}\n{subtitle}")


def mask_rows(clip: Clip, masks: Mapping[str, Bool[np.ndarray, "t h w"]]) -> list[Row]:
    """Frames, motion, and a row for each mask (True = masked) with its name (Figure 4)."""
    size = _tile_size(clip, next(iter(masks.values())).shape)
    frames = overlays.resize(clip.frames, size)
    rows = []
    for name, mask in masks.items():
        tiles = _with_boxes(clip, overlays.mask_overlay(frames, mask))
        # Names may be long; lines break at spaces.
        label = f"{name.replace('+', ' +')}\n{mask.mean():.1%} masked (blue)"
        rows.append(Row(label, tiles))
    return [*_clip_rows(clip, size), *rows]


def reconstruction_rows(
    clip: Clip,
    mask: Bool[np.ndarray, "t h w"],
    reconstructions: Mapping[str, UInt8[np.ndarray, "t H W 3"]],
) -> list[Row]:
    """Frames, motion, mask (True = masked), visible input, and a row for each reconstruction.

    Visible tubelets of the reconstructions, which are given by label, show the input instead.
    """
    size = _tile_size(clip, mask.shape)
    frames = overlays.resize(clip.frames, size)
    rows = [Row("visible input", overlays.paste_visible(overlays.MASKED, frames, mask))]
    for label, pictures in reconstructions.items():
        pictures = overlays.paste_visible(overlays.resize(pictures, size), frames, mask)
        rows.append(Row(label, pictures))
    return [*mask_rows(clip, {"mask": mask}), *rows]


def attention_rows(
    clip: Clip, attention: Float[np.ndarray, "t h w"], query: tuple[int, int, int]
) -> list[Row]:
    """Frames, motion, and the attention of one token, the query (Figures 5 and 6).

    The query (tubelet, row, column) is outlined.
    """
    size = _tile_size(clip, attention.shape)
    brightest = float(np.quantile(attention, _BRIGHTEST_QUANTILE))
    tiles = overlays.attention_overlay(overlays.resize(clip.frames, size), attention, brightest)
    tubelet, row, column = query
    height, width = np.divide(size, attention.shape[1:])
    outlines = np.full((len(tiles), 1, 4), np.nan)
    outlines[tubelet] = (
        *(column * width, row * height),
        *((column + 1) * width, (row + 1) * height),
    )
    tiles = overlays.draw_boxes(tiles, outlines, overlays.QUERY)
    bar = overlays.attention_colours(np.linspace(1, 0, 100)[:, None].repeat(25, axis=1))
    label = f"attention\nof token {tubelet},{row},{column}, outlined\n"
    label += f"0 to {brightest * attention.size:.2g} times uniform"
    return [*_clip_rows(clip, size), Row(label, tiles, bar)]


def _clip_rows(clip: Clip, size: tuple[int, int]) -> list[Row]:
    motion = motion_colours.motion_pictures(clip.motion, clip.motion_valid, size, clip.motion_scale)
    label = "motion\ncolour: where to\nstrength: how far\n"
    label += f"rim of wheel: {clip.motion_scale:g} px"
    frames = "frames" if clip.boxes is None else "frames\nyellow: annotated boxes"
    return [
        Row(frames, _with_boxes(clip, overlays.resize(clip.frames, size))),
        Row(label, _with_boxes(clip, motion, _BOX_ON_WHITE), motion_colours.colour_wheel()),
    ]


def _with_boxes(
    clip: Clip, tiles: UInt8[np.ndarray, "n h w 3"], colour: tuple[int, int, int] = overlays.BOX
) -> UInt8[np.ndarray, "n h w 3"]:
    if clip.boxes is None:
        return tiles
    vertical, horizontal = np.divide(tiles.shape[1:3], clip.frames.shape[1:3])
    scale = np.array([horizontal, vertical, horizontal, vertical])
    return overlays.draw_boxes(tiles, clip.boxes * scale, colour)


def _tile_size(clip: Clip, grid: tuple[int, int, int]) -> tuple[int, int]:
    """(height, width) in pixels, a whole number of them for each token."""
    height, width = clip.frames.shape[1:3]
    cell_width = max(_TILE_WIDTH // grid[2], 1)
    cell_height = max(round(cell_width * (height / grid[1]) / (width / grid[2])), 1)
    return (cell_height * grid[1], cell_width * grid[2])
