"""Motion maps on the device: camera compensation, magnitude, and where the motion is.

A motion map holds one displacement (dx, dy) per 8x8 motion cell and frame, in output pixels. What
a mask needs of it is its magnitude per tubelet, and the cell (`peak_cells`) or the window
(`busiest_windows`) with the most of it.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

# Window sums are taken in whole numbers of 1/64 pixel: exact in any order of summation.
_STEPS_PER_PIXEL = 64


def magnitude_per_step(
    motion: Float[Array, "b T mh mw 2"],
    motion_valid: Bool[Array, "b T"],
    tubelet_frames: int = 2,
) -> Float[Array, "b t mh mw"]:
    """Motion magnitude of each tubelet.

    Decision: the frames of a tubelet are pooled by their largest magnitude, and a frame without
    valid motion contributes zero, whatever it holds.

    Args:
        motion: Displacements (dx, dy) in output pixels.
        motion_valid: Whether a frame's motion is known.
        tubelet_frames: Frames in a tubelet.

    Returns:
        Length of the displacement in pixels, never negative, for t = T / tubelet_frames steps.

    Raises:
        ValueError: The frames do not divide into tubelets.
    """
    batch, frames, rows, columns, _ = motion.shape
    if frames % tubelet_frames:
        raise ValueError(
            f"{frames} frames of motion do not divide into tubelets of {tubelet_frames} frames; "
            "sample a multiple"
        )
    length = jnp.sqrt(jnp.sum(jnp.square(motion), axis=-1))
    length = jnp.where(motion_valid[:, :, None, None], length, 0)
    steps = frames // tubelet_frames
    return length.reshape(batch, steps, tubelet_frames, rows, columns).max(axis=2)


def compensate_camera(
    motion: Float[Array, "b T mh mw 2"],
    motion_valid: Bool[Array, "b T"],
    mode: str = "none",
) -> Float[Array, "b T mh mw 2"]:
    """Subtracts each frame's camera motion, which the paper leaves as its limitation (section 5).

    Decision: "none" by default, as in the paper. "median" subtracts the frame's median dx and
    median dy, a pan or tilt that most cells share.

    Args:
        motion: Displacements (dx, dy) in output pixels.
        motion_valid: Whether a frame's motion is known; other frames are returned as they are.
        mode: "none" or "median".

    Returns:
        Displacements relative to the camera, in output pixels.

    Raises:
        ValueError: The mode is unknown.
    """
    if mode == "none":
        return motion
    if mode != "median":
        raise ValueError(f"unknown camera compensation {mode!r}; choose one of none, median")
    compensated = motion - jnp.median(motion, axis=(2, 3), keepdims=True)
    return jnp.where(motion_valid[:, :, None, None, None], compensated, motion)


def peak_cells(
    magnitude: Float[Array, "t mh mw"], priority: UInt32[Array, "mh mw"]
) -> Int[Array, "t 2"]:
    """The motion cell with the largest magnitude in each step: top-1 of Eq. 6 and 7.

    Nearest upsampling does not move the largest value, so the map is searched as it is.

    Decision: among equal cells the one of highest priority wins. Ties are the rule, not the
    exception (a 16x16 block fills four cells, a pan fills the frame), and taking the first of them
    would pull every mask to the top left. One random priority for the whole clip keeps the peak of
    an unchanging field in its place.

    Args:
        magnitude: Motion magnitude of one clip.
        priority: Random number of each cell, for ties.

    Returns:
        (row, column) of the winning motion cell.
    """
    return _argmax(magnitude, priority)


def busiest_windows(
    magnitude: Float[Array, "t mh mw"],
    priority: UInt32[Array, "mh mw"],
    size: Int[Array, "t 2"],
) -> Int[Array, "t 2"]:
    """The place of the window that holds the most motion in each step, by integral image.

    Magnitudes count in 1/64 pixel.

    Args:
        magnitude: Motion magnitude of one clip.
        priority: Random number of each cell, for ties between windows that start there.
        size: (height, width) of each step's window in motion cells, from 1 to the whole map.

    Returns:
        (row, column) of the window's first cell.
    """
    _, rows, columns = magnitude.shape
    largest = min(2**24, (2**31 - 1) // (rows * columns))
    counts = jnp.minimum(jnp.round(magnitude * _STEPS_PER_PIXEL), largest).astype(jnp.int32)

    def window_sums(counts: Int[Array, "mh mw"], window: Int[Array, "2"]) -> Int[Array, "mh mw"]:
        integral = jnp.pad(counts.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
        top, left = jnp.arange(rows), jnp.arange(columns)
        bottom, right = top + window[0], left + window[1]
        sums = jnp.take(integral, bottom, axis=0, mode="clip") - integral[:-1]
        sums = jnp.take(sums, right, axis=1, mode="clip") - sums[:, :-1]
        inside = (bottom <= rows)[:, None] & (right <= columns)
        return jnp.where(inside, sums, -1)

    return _argmax(jax.vmap(window_sums)(counts, size), priority)


def _argmax(values: Array, priority: UInt32[Array, "mh mw"]) -> Int[Array, "t 2"]:
    """Row and column of each step's largest value; the highest priority breaks ties."""
    columns = values.shape[-1]
    largest = values.max(axis=(1, 2), keepdims=True)
    # `| 1` because a tied cell must beat the zero of the others.
    candidates = jnp.where(values == largest, priority | 1, 0)
    winner = jnp.argmax(candidates.reshape(len(values), -1), axis=1)
    return jnp.stack([winner // columns, winner % columns], axis=-1).astype(jnp.int32)
