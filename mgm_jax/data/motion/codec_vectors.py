"""Codec motion vectors as dense maps.

A video codec predicts a block of a frame from a shifted block of another frame. FFmpeg exports the
shifts as side data (`flags2=+export_mvs`): one record per block and reference with the block's
size `w, h` (8 or 16), its centre `dst_x, dst_y` in this frame, the centre `src_x, src_y` of the
block it was predicted from, `source` (negative: predicted from the past, positive: from the
future), and the shift with its fraction, `motion / motion_scale = src - dst`.

The map made here is the **displacement from the past** in pixels: an object that moves 3 pixels to
the right per frame has dx = +3. That is `dst - src` for a past reference and `src - dst` for a
future one, which takes the coming motion for the past one. Limits of these maps:

- The reference may be several frames away. With B-frames or several reference frames, the number
  of frames that a vector spans is unknown; without either it is one.
- FFmpeg calls the first reference list of a B-frame past and the second future. Encoders usually
  fill them that way.
- The encoder chooses the vector that is cheapest to code, which in flat areas is often noise.
- Blocks coded without prediction (intra) have no vector: their cells are zero.
- Some frames have vectors that FFmpeg exports wrong, or not at all (`may_carry_true_vectors`).
"""

from collections.abc import Sequence
from typing import Any, cast

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import PictureType
from jaxtyping import Complex64, Float32, Int, Int16, Shaped, UInt8

from mgm_jax.data.video.decoder import INTER_PICTURES
from mgm_jax.data.video.planes import Orientation

MOTION_CELL = 8
"""Side of a motion cell in pixels, the smallest block that FFmpeg reports (Eq. 6)."""
_LOG2_CELL = 3
_MACROBLOCK = 16

_UPRIGHT = Orientation()

# Other decoders (MPEG-4 part 2, RealVideo) export zeros for all blocks of B-frames.
_TRUE_IN_B_FRAMES = frozenset({"h264", "mpeg1video", "mpeg2video"})
# Of a block coded as two fields, FFmpeg halves or doubles the vertical shift.
_UNTRUE_IN_FIELDS = frozenset({"h264", "mpeg4"})

RECORD = np.dtype(  # type: ignore[call-overload]  # a form that its annotations lack
    {
        "source": ("<i4", 0),
        "w": ("u1", 4),
        "h": ("u1", 5),
        "src_x": ("<i2", 6),
        "src_y": ("<i2", 8),
        "dst_x": ("<i2", 10),
        "dst_y": ("<i2", 12),
        "motion_x": ("<i4", 24),
        "motion_y": ("<i4", 28),
        "motion": ("<i8", 24),  # motion_x and motion_y at once: copying pairs is ten times slower
        "motion_scale": ("<u2", 32),
        "padding": ("V6", 34),
    }
)
"""FFmpeg's AVMotionVector."""

Vectors = Shaped[np.ndarray, " n"]
"""Array of the type `RECORD`."""


def is_predicted(frame: av.VideoFrame, codec: str) -> bool:
    """Whether a frame is predicted from others in a way of which FFmpeg exports true vectors."""
    return frame.pict_type in INTER_PICTURES and not (
        frame.interlaced_frame and codec in _UNTRUE_IN_FIELDS
    )


def may_carry_true_vectors(frame: av.VideoFrame, codec: str) -> bool:
    """Whether the vectors that a frame carries, if any, are those that the file holds."""
    return is_predicted(frame, codec) and (
        frame.pict_type != PictureType.B or codec in _TRUE_IN_B_FRAMES
    )


def vectors_of(frame: av.VideoFrame) -> Vectors | None:
    """A copy of the vectors that a frame carries.

    None if it carries none: all its blocks are intra coded (one that stands still has a vector of
    zero), or the decoder exports none.
    """
    # `frame.side_data` would create a reference cycle, and the decoder could not reuse the frame's
    # memory until the garbage collector has run.
    side_data = SideDataContainer(frame)  # type: ignore[call-arg]
    data = side_data.get("MOTION_VECTORS")
    return None if data is None else np.frombuffer(bytearray(data), RECORD)


def orient(vectors: Vectors, orientation: Orientation, height: int, width: int) -> Vectors:
    """Turns the vectors of a stored frame of this size as the frame is turned for display.

    Returns the same array if nothing turns.
    """
    if orientation == _UPRIGHT:
        return vectors
    turned = vectors.copy()
    if orientation.transpose:
        for x, y in (("dst_x", "dst_y"), ("src_x", "src_y"), ("motion_x", "motion_y"), ("w", "h")):
            turned[x], turned[y] = vectors[y], vectors[x]
    extent = dict(zip("yx", orientation.size(height, width), strict=True))
    flips = {"x": orientation.flip_x, "y": orientation.flip_y}
    for axis in (axis for axis, flip in flips.items() if flip):
        # Centres are measured from the frame's edge, so mirroring shifts by no half pixel.
        turned[f"dst_{axis}"] = extent[axis] - turned[f"dst_{axis}"]
        turned[f"src_{axis}"] = extent[axis] - turned[f"src_{axis}"]
        turned[f"motion_{axis}"] = -turned[f"motion_{axis}"]
    return turned


def rasterise(
    frames: Sequence[Shaped[np.ndarray, " _"]], height: int, width: int
) -> Float32[np.ndarray, "t rows columns 2"]:
    """Paints each block's displacement from the past onto a grid of 8x8-pixel cells.

    A cell that no block covers is zero. If a block has a past and a future reference, the past one
    counts, unless FFmpeg exported a zero for a part of a macroblock that may have none. Parts
    outside the frame are ignored. A block off the cell grid (in a mirrored frame
    whose size is no multiple of 8) goes to the nearest cells.

    Painting several frames together takes half the time of painting them one by one.

    Returns:
        (dx, dy) in pixels, x to the right and y down, for each cell of each frame.
    """
    rows, columns = -(-height // MOTION_CELL), -(-width // MOTION_CELL)
    vectors = frames[0]
    if any(map(len, frames)):
        vectors = np.frombuffer(b"".join(cast(Any, frames)), RECORD)  # Arrays are buffers.
    displacement = _from_past(vectors)
    block_rows = _covered_cells(vectors["dst_y"].copy(), vectors["h"], rows)
    block_columns = _covered_cells(vectors["dst_x"].copy(), vectors["w"], columns)
    # An extra row and an extra column take what falls outside the frame.
    stride = columns + 1
    first_cells = np.arange(len(frames)) * ((rows + 1) * stride)
    first_cell = np.repeat(first_cells, [len(frame) for frame in frames])
    row_starts = [row * stride + first_cell for row in block_rows]

    # One complex number per cell, dx + i dy, makes painting a plain indexed write.
    cells = np.zeros(len(frames) * (rows + 1) * stride, np.complex64)
    future = vectors["source"] > 0
    sides: list[Any] = [...]
    if future.any():
        # A macroblock's parts may have different references; of each, FFmpeg exports both.
        is_part = (vectors["w"] < _MACROBLOCK) | (vectors["h"] < _MACROBLOCK)
        sides = [np.flatnonzero(future), np.flatnonzero(~(future | is_part & (displacement == 0)))]
    for side in sides:
        side_columns = [column[side] for column in block_columns]
        side_displacement = displacement[side]
        for row_start in row_starts:
            side_start = row_start[side]
            for column in side_columns:
                cells[side_start + column] = side_displacement
    inner = cells.reshape(len(frames), rows + 1, stride)[:, :rows, :columns]
    return inner.copy().view(np.float32).reshape(len(frames), rows, columns, 2)


def _from_past(vectors: Vectors) -> Complex64[np.ndarray, " n"]:
    """Displacement of each block from the past, dx + i dy in pixels.

    Vectors with a `motion_scale` of 0 have no fraction: their whole-pixel positions are used.
    """
    scale = vectors["motion_scale"]
    shift = vectors["motion"].copy().view(np.int32).astype(np.float32).view(np.complex64)
    if not scale.all():
        x, y = (vectors[f"src_{axis}"].astype(np.float32) - vectors[f"dst_{axis}"] for axis in "xy")
        shift = np.where(scale > 0, shift, x + 1j * y)
        scale = np.maximum(scale, 1)
    return shift * (np.sign(vectors["source"]).astype(np.float32) / scale)


def _covered_cells(
    centre: Int16[np.ndarray, " n"], extent: UInt8[np.ndarray, " n"], num_cells: int
) -> list[Int[np.ndarray, " n"]]:
    """The cells along one axis that blocks cover; a small block repeats its own to fill the list.

    Cells outside the frame are given as `num_cells`.
    """
    # 16-bit shifts, because 64-bit division takes several times as long.
    reach = (extent.astype(np.int16) >> 1) - np.int16(MOTION_CELL // 2)
    first, last = (centre - reach) >> _LOG2_CELL, (centre + reach) >> _LOG2_CELL
    most = 2 * int(np.max(reach, initial=0)) // MOTION_CELL + 1
    cells = [first, *(np.minimum(first + step, last) for step in range(1, most - 1)), last][:most]
    # As unsigned integers, negative numbers are larger than `num_cells`.
    return [np.minimum(cell.view(np.uint16), num_cells).astype(np.intp) for cell in cells]
