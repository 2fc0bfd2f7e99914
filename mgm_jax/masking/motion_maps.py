"""Motion maps on the device: camera compensation, magnitude, and where the motion is largest.

A motion map holds one displacement (dx, dy), in output pixels, per frame and 8x8-pixel motion cell.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped, UInt32

# Windows are summed in integers, in 1/64 pixel, so that the order of summation does not matter.
_LEVELS_PER_PIXEL = 64


def magnitude_per_tubelet(
    motion: Float[Array, "b T mh mw 2"],
    motion_valid: Bool[Array, "b T"],
    tubelet_frames: int = 2,
) -> Float[Array, "b t mh mw"]:
    """Length of the displacements of each tubelet, in pixels.

    Decision: a tubelet has the largest magnitude of its frames. A frame without valid motion
    counts as zero.
    """
    batch, frames, rows, columns, _ = motion.shape
    length = jnp.sqrt(jnp.sum(jnp.square(motion), axis=-1))
    length = jnp.where(motion_valid[:, :, None, None], length, 0)
    tubelets = frames // tubelet_frames
    return length.reshape(batch, tubelets, tubelet_frames, rows, columns).max(axis=2)


def compensate_camera(
    motion: Float[Array, "b T mh mw 2"],
    motion_valid: Bool[Array, "b T"],
    mode: Literal["none", "median"] = "none",
) -> Float[Array, "b T mh mw 2"]:
    """Subtracts each frame's camera motion, which the paper names as a limitation (section 5).

    Decision: "none" by default, as in the paper. "median" subtracts the frame's median dx and
    median dy: a pan or tilt that most cells share. Frames without valid motion stay as they are.
    """
    if mode == "none":
        return motion
    compensated = motion - jnp.median(motion, axis=(2, 3), keepdims=True)
    return jnp.where(motion_valid[:, :, None, None, None], compensated, motion)


def peak_cells(
    magnitude: Shaped[Array, "t mh mw"], priority: UInt32[Array, "mh mw"]
) -> Int[Array, "t 2"]:
    """(row, column) of the motion cell with the largest magnitude per tubelet (Eq. 6 and 7, top-1).

    The nearest upsampling of the equations does not move the maximum, so it is left out.

    Decision: ties go to the cell of highest priority, a random number per cell. Ties are common (a
    16x16 block fills four cells, a pan the whole frame), and taking the first cell would pull masks
    to the top left. The priority is the same for the whole clip, so a constant field has a constant
    peak.
    """
    columns = magnitude.shape[-1]
    largest = magnitude.max(axis=(1, 2), keepdims=True)
    # `| 1`, because a tied cell of priority 0 must beat the cells that are not tied.
    candidates = jnp.where(magnitude == largest, priority | 1, 0)
    winner = jnp.argmax(candidates.reshape(len(magnitude), -1), axis=1)
    return jnp.stack([winner // columns, winner % columns], axis=-1).astype(jnp.int32)


def busiest_windows(
    magnitude: Float[Array, "t mh mw"],
    priority: UInt32[Array, "mh mw"],
    size: Int[Array, "t 2"],
) -> Int[Array, "t 2"]:
    """(row, column) of the first cell of the window with the most motion per tubelet.

    Windows of a (height, width) in cells, at most the whole map; ties between them are broken by
    the random number of the cell in which they start.
    """
    _, rows, columns = magnitude.shape
    largest = min(2**24, (2**31 - 1) // (rows * columns))
    counts = jnp.minimum(jnp.round(magnitude * _LEVELS_PER_PIXEL), largest).astype(jnp.int32)

    def window_sums(counts: Int[Array, "mh mw"], window: Int[Array, "2"]) -> Int[Array, "mh mw"]:
        integral = jnp.pad(counts.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
        top, left = jnp.arange(rows), jnp.arange(columns)
        bottom, right = top + window[0], left + window[1]
        sums = jnp.take(integral, bottom, axis=0, mode="clip") - integral[:-1]
        sums = jnp.take(sums, right, axis=1, mode="clip") - sums[:, :-1]
        inside = (bottom <= rows)[:, None] & (right <= columns)
        return jnp.where(inside, sums, -1)

    return peak_cells(jax.vmap(window_sums)(counts, size), priority)
