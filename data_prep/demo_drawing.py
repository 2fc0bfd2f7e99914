"""Draws sprites over a scene with bilinear interpolation, and finds the box of their visible part.

Coordinates are in pixels of the canvas, x to the right and y down; pixel i covers [i, i+1). Colours
are RGB 0..255, alpha is 0..1, and RGBA is premultiplied: RGB times alpha.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Float32, Int

from data_prep.demo_looks import SPRITE_RADIUS


def _mix(first: np.ndarray, second: np.ndarray, weight: np.ndarray | np.float32) -> np.ndarray:
    """From first (weight 0) to second (weight 1)."""
    return first + (second - first) * weight


@dataclasses.dataclass(frozen=True)
class Patches:
    """An object as it appears in each frame: a square of pixels and the square's corner."""

    rgba: Float32[np.ndarray, "t p p 4"]
    left: Int[np.ndarray, "t"]
    top: Int[np.ndarray, "t"]


def draw(
    levels: list[Float32[np.ndarray, "_ _ 4"]],
    x: Float[np.ndarray, "t"],
    y: Float[np.ndarray, "t"],
    radius: Float[np.ndarray, "t"],
    angle: Float[np.ndarray, "t"],
) -> Patches:
    """Places a sprite in all frames at once, with its centre at subpixel positions.

    `levels` are those of `demo_looks.sprite`; `angle` is clockwise, in radians.
    """
    reach = int(np.ceil(radius.max())) + 1
    left, top = np.floor(x).astype(int) - reach, np.floor(y).astype(int) - reach
    line = np.arange(2 * reach + 1) + 0.5
    dx = (left - x)[:, None, None] + line
    dy = (top - y)[:, None, None] + line[:, None]
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    # The level whose pixels are at most as large as the frame's, and more than half as large.
    depth = np.clip(np.log2(SPRITE_RADIUS / radius).astype(int), 0, len(levels) - 1)
    sizes = np.array([len(level) for level in levels])
    starts = np.concatenate([[0], np.cumsum(sizes**2)])[depth][:, None, None]
    atlas = np.concatenate([level.reshape(-1, 4) for level in levels])
    size = sizes[depth][:, None, None]
    scale = (SPRITE_RADIUS / 2.0**depth / radius)[:, None, None]
    u = np.clip((cos * dx + sin * dy) * scale + size / 2 - 0.5, 0, size - 1.001)
    v = np.clip((cos * dy - sin * dx) * scale + size / 2 - 0.5, 0, size - 1.001)
    column, row = u.astype(np.int32), v.astype(np.int32)
    weight_u = (u - column).astype(np.float32)[..., None]
    weight_v = (v - row).astype(np.float32)[..., None]
    corner = starts + row * size + column
    above, below = (
        _mix(atlas.take(pixel, axis=0), atlas.take(pixel + 1, axis=0), weight_u)
        for pixel in (corner, corner + size)
    )
    return Patches(_mix(above, below, weight_v), left, top)


def composite(
    canvas: Float32[np.ndarray, "h w 3"], patches: Patches, frame: int
) -> tuple[slice, slice, Float32[np.ndarray, "r c"]]:
    """Draws one frame's patch over the canvas, in place.

    Returns:
        Rows and columns of the canvas under the patch, which may be empty, and its alpha there.
    """
    height, width, _ = canvas.shape
    side = patches.rgba.shape[1]
    left, top = int(patches.left[frame]), int(patches.top[frame])
    x1, x2 = np.clip((left, left + side), 0, width)
    y1, y2 = np.clip((top, top + side), 0, height)
    rgba = patches.rgba[frame, y1 - top : y2 - top, x1 - left : x2 - left]
    rows, columns = slice(y1, y2), slice(x1, x2)
    canvas[rows, columns] *= 1 - rgba[..., 3:]
    canvas[rows, columns] += rgba[..., :3]
    return rows, columns, rgba[..., 3]


def crop(
    scene: Float32[np.ndarray, "scene_h scene_w 3"], left: float, top: float, size: int
) -> Float32[np.ndarray, "size size 3"]:
    """A copy of a square of the scene, whose corner may be at a subpixel position."""
    column, row = int(np.floor(left)), int(np.floor(top))
    if left == column and top == row:
        return scene[row : row + size, column : column + size].copy()
    square = scene[row : row + size + 1, column : column + size + 1]
    square = _mix(square[:-1], square[1:], np.float32(top - row))
    return _mix(square[:, :-1], square[:, 1:], np.float32(left - column))


def visible_box(alpha: Float32[np.ndarray, "h w"]) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 around the pixels of at least half alpha; NaN if there are none."""
    visible = alpha >= 0.5
    rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    if len(rows) == 0:
        return (np.nan,) * 4
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
