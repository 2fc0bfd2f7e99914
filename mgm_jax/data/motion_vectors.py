"""Codec motion vectors as dense maps.

A video codec predicts a block of a frame from a shifted block of another frame. FFmpeg hands the
shifts out as side data (`flags2=+export_mvs`): one record per block and reference with the block's
size `w, h` (8 or 16), its centre `dst_x, dst_y` in this frame, the centre `src_x, src_y` of the
block it was predicted from, `source` (negative: predicted from the past, positive: from the
future), and the same shift with its fraction, `motion / motion_scale = src - dst`.

The map made here is the **displacement from the past**, in pixels: a thing that moves 3 pixels to
the right per frame has dx = +3. That is `dst - src` for a past reference. For a future reference
it is `src - dst`: where the thing will go stands in for where it came from. What the maps do not
say:

- A reference need not be the neighbouring frame. With B-frames or several reference frames the
  length is per an unknown number of frames. Files encoded without either have plain per-frame
  displacements.
- FFmpeg calls the first reference list of a B-frame past and the second future, whatever they
  point to. Encoders fill them that way, as a rule.
- The encoder chooses the vector that is cheapest to code, not the true motion; in flat areas it
  often is noise.
- Blocks coded without prediction (intra) have no vector: their cells are zero.
"""

import numpy as np
from jaxtyping import Complex64, Float, Int, Int16, Shaped, UInt8

from mgm_jax.data.planes import Orientation

CELL = 8
"""Side of a motion cell in pixels: the smallest block that FFmpeg reports."""

EXPORTING_CODECS = frozenset(
    {
        "flv1",
        "h261",
        "h263",
        "h263p",
        "h264",
        "mpeg1video",
        "mpeg2video",
        "mpeg4",
        "msmpeg4v1",
        "msmpeg4v2",
        "msmpeg4v3",
        "rv10",
        "rv20",
        "snow",
        "wmv1",
        "wmv2",
    }
)
"""Codecs whose FFmpeg decoder exports motion vectors. HEVC, VP8, VP9 and AV1 export none."""

Vectors = Shaped[np.ndarray, " n"]
"""Structured array with the fields of FFmpeg's AVMotionVector, as PyAV returns it."""


def orient(vectors: Vectors, orientation: Orientation, height: int, width: int) -> Vectors:
    """Turns vectors, positions and directions, as the picture is turned for display.

    Args:
        vectors: In the stored frame.
        orientation: How the frame is turned.
        height: Of the stored frame, pixels.
        width: Of the stored frame, pixels.

    Returns:
        The vectors in the displayed frame; the same array if nothing turns.
    """
    if orientation == Orientation():
        return vectors
    turned = vectors.copy()
    if orientation.transpose:
        for x, y in (("dst_x", "dst_y"), ("src_x", "src_y"), ("motion_x", "motion_y"), ("w", "h")):
            turned[x], turned[y] = vectors[y], vectors[x]
    extent = dict(zip("yx", orientation.size(height, width), strict=True))
    flips = {"x": orientation.flip_x, "y": orientation.flip_y}
    for axis in (axis for axis, flip in flips.items() if flip):
        # Centres are measured from the frame's edge, so mirroring needs no half pixel.
        turned[f"dst_{axis}"] = extent[axis] - turned[f"dst_{axis}"]
        turned[f"src_{axis}"] = extent[axis] - turned[f"src_{axis}"]
        turned[f"motion_{axis}"] = -turned[f"motion_{axis}"]
    return turned


def rasterise(vectors: Vectors, height: int, width: int) -> Float[np.ndarray, "rows columns 2"]:
    """Paints each block's displacement from the past onto a grid of 8x8-pixel cells.

    A cell that no block covers is zero. Where a block has a past and a future reference, the past
    one wins. Blocks, or parts of them, that lie outside the frame are left out. A block that does
    not start on the cell grid (a mirrored frame whose size is no multiple of 8) goes to the
    nearest cells.

    Args:
        vectors: Of one frame.
        height: Of the frame, pixels.
        width: Of the frame, pixels.

    Returns:
        float32 [ceil(height / 8), ceil(width / 8), 2]: (dx, dy) in pixels, x right and y down.
    """
    rows, columns = -(-height // CELL), -(-width // CELL)
    first_row, num_rows = _covered_cells(vectors["dst_y"], vectors["h"])
    first_column, num_columns = _covered_cells(vectors["dst_x"], vectors["w"])
    # The margin around the grid takes what falls outside the frame.
    margin = int(max(num_rows.max(initial=1), num_columns.max(initial=1)))
    stride = columns + 2 * margin
    first_cell = (np.clip(first_row, -margin, rows) + margin) * stride
    first_cell += np.clip(first_column, -margin, columns) + margin

    # Each block is spread over its cells; of equal cells the last written stays: the past's.
    order = np.argsort(vectors["source"] < 0, kind="stable")
    num_cells = (num_rows * num_columns)[order]
    block = np.repeat(order, num_cells)
    first_entry = np.repeat(np.cumsum(num_cells) - num_cells, num_cells)
    row, column = np.divmod(np.arange(len(block)) - first_entry, num_columns[block])
    # One complex number per cell, dx + i dy, makes painting a single indexed write.
    cells = np.zeros((rows + 2 * margin) * stride, np.complex64)
    cells[first_cell[block] + row * stride + column] = from_past(vectors)[block]
    inner = cells.reshape(-1, stride)[margin : margin + rows, margin : margin + columns]
    return np.stack([inner.real, inner.imag], axis=-1)


def from_past(vectors: Vectors) -> Complex64[np.ndarray, " n"]:
    """Displacement of each block from the past, dx + i dy in pixels.

    Args:
        vectors: Any number. Those with a `motion_scale` of 0 have no fraction and are taken from
            the whole-pixel positions.

    Returns:
        complex64 [n].
    """
    scale = vectors["motion_scale"]
    factor = np.where(vectors["source"] < 0, np.float32(-1), np.float32(1)) / np.maximum(scale, 1)
    displacement = np.empty((len(vectors), 2), np.float32)
    for channel, axis in enumerate("xy"):
        shift = vectors[f"motion_{axis}"]
        if not scale.all():
            positions = vectors[f"src_{axis}"].astype(np.int32) - vectors[f"dst_{axis}"]
            shift = np.where(scale > 0, shift, positions)
        displacement[:, channel] = shift * factor
    return displacement.view(np.complex64)[:, 0]


def _covered_cells(
    centre: Int16[np.ndarray, " n"], extent: UInt8[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """First cell (may lie outside) and number of cells along one axis, to the nearest cell."""
    extent = extent.astype(np.intp)
    return (centre - (extent >> 1) + CELL // 2) // CELL, (extent + CELL // 2) // CELL
