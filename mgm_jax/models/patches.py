"""Space-time patches: clips are cut into tubelets, and each tubelet becomes one token."""

import math
from typing import TypeVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Shaped

AnyArray = TypeVar("AnyArray", Array, np.ndarray)


def token_grid(
    frames: int, height: int, width: int, tubelet: tuple[int, int, int]
) -> tuple[int, int, int]:
    """Counts the tubelets of a clip along time, height and width.

    Args:
        frames: Length of the clip.
        height: Height of the clip in pixels.
        width: Width of the clip in pixels.
        tubelet: Size of a tubelet in frames, pixels, pixels.

    Raises:
        ValueError: A side of the clip is not a multiple of the tubelet's.
    """
    clip = (frames, height, width)
    if any(side % part for side, part in zip(clip, tubelet, strict=True)):
        raise ValueError(
            f"a clip of {frames} frames of {height}x{width} pixels does not divide into tubelets "
            f"of {tubelet}; choose multiples of the tubelet size"
        )
    return frames // tubelet[0], height // tubelet[1], width // tubelet[2]


def patchify(
    clips: Shaped[AnyArray, "b T H W c"], tubelet: tuple[int, int, int] = (2, 16, 16)
) -> Shaped[AnyArray, "b n d"]:
    """Cuts clips into flattened tubelets, ordered by time, then row, then column.

    The d = p0·p1·p2·c values of a tubelet keep the order (p0 p1 p2 c), as in VideoMAE, so that one
    matrix product computes its patch embedding, a 3-D convolution with stride equal to its kernel.

    Args:
        clips: Arrays of JAX or NumPy.
        tubelet: Size of a tubelet in frames, pixels, pixels: (p0, p1, p2).

    Raises:
        ValueError: A side of the clip is not a multiple of the tubelet's.
    """
    b, frames, height, width, channels = clips.shape
    t, h, w = token_grid(frames, height, width, tubelet)
    p0, p1, p2 = tubelet
    patches = clips.reshape(b, t, p0, h, p1, w, p2, channels)
    patches = patches.transpose(0, 1, 3, 5, 2, 4, 6, 7)
    return patches.reshape(b, t * h * w, p0 * p1 * p2 * channels)


def unpatchify(
    patches: Shaped[AnyArray, "b n d"],
    grid: tuple[int, int, int],
    tubelet: tuple[int, int, int] = (2, 16, 16),
) -> Shaped[AnyArray, "b T H W c"]:
    """Puts flattened tubelets back together; the inverse of `patchify`.

    Args:
        patches: All n = t·h·w tubelets of each clip; arrays of JAX or NumPy.
        grid: Token grid (t, h, w).
        tubelet: Size of a tubelet in frames, pixels, pixels.
    """
    (t, h, w), (p0, p1, p2) = grid, tubelet
    b, _, dim = patches.shape
    channels = dim // math.prod(tubelet)
    clips = patches.reshape(b, t, h, w, p0, p1, p2, channels)
    clips = clips.transpose(0, 1, 4, 2, 5, 3, 6, 7)
    return clips.reshape(b, t * p0, h * p1, w * p2, channels)


def gather_tokens(tokens: Shaped[Array, "b n d"], ids: Int[Array, "b k"]) -> Shaped[Array, "b k d"]:
    """Selects tokens of each clip by position; positions outside [0, n) are undefined behaviour."""
    return jnp.take_along_axis(tokens, ids[:, :, None], axis=1, mode="promise_in_bounds")
