"""Clips cut into tubelets, the space-time patches that become tokens."""

import jax.numpy as jnp
from jaxtyping import Array, Int, Shaped


def token_grid(
    frames: int, height: int, width: int, tubelet: tuple[int, int, int]
) -> tuple[int, int, int]:
    """Counts the tubelets along each axis of a clip.

    Args:
        frames: Frames of the clip.
        height: Height of the clip in pixels.
        width: Width of the clip in pixels.
        tubelet: Size of a tubelet in frames, pixels, pixels.

    Returns:
        The token grid (t, h, w).

    Raises:
        ValueError: A side of the clip is not a multiple of the tubelet's.
    """
    clip = (frames, height, width)
    if any(side % part for side, part in zip(clip, tubelet, strict=True)):
        raise ValueError(
            f"a clip of {frames} frames of {height}x{width} pixels does not divide into tubelets "
            f"of {tubelet}; choose multiples of the tubelet size"
        )
    t, h, w = (side // part for side, part in zip(clip, tubelet, strict=True))
    return t, h, w


def patchify(
    clips: Shaped[Array, "b T H W c"], tubelet: tuple[int, int, int] = (2, 16, 16)
) -> Shaped[Array, "b n d"]:
    """Cuts clips into flattened tubelets.

    Tokens are ordered time-major, (t h w); the values of one token in the order (p0 p1 p2 c) of
    VideoMAE, so that a 3-D convolution with stride equal to its kernel is one matrix product.

    Args:
        clips: Clips.
        tubelet: Size of a tubelet in frames, pixels, pixels: (p0, p1, p2).

    Returns:
        The tubelets, n = t·h·w and d = p0·p1·p2·c.

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
    patches: Shaped[Array, "b n d"],
    grid: tuple[int, int, int],
    tubelet: tuple[int, int, int] = (2, 16, 16),
) -> Shaped[Array, "b T H W c"]:
    """Puts flattened tubelets back into clips; the inverse of `patchify`.

    Args:
        patches: Tubelets of every token, in order.
        grid: Token grid (t, h, w).
        tubelet: Size of a tubelet in frames, pixels, pixels.

    Returns:
        Clips of t·p0 frames of h·p1 × w·p2 pixels.

    Raises:
        ValueError: The number of tokens is not that of the grid.
    """
    t, h, w = grid
    p0, p1, p2 = tubelet
    b, tokens, _ = patches.shape
    if tokens != t * h * w:
        raise ValueError(f"{tokens} tokens do not fill the grid {grid}; give all {t * h * w}")
    clips = patches.reshape(b, t, h, w, p0, p1, p2, -1)
    clips = clips.transpose(0, 1, 4, 2, 5, 3, 6, 7)
    return clips.reshape(b, t * p0, h * p1, w * p2, -1)


def gather_tokens(tokens: Shaped[Array, "b n d"], ids: Int[Array, "b k"]) -> Shaped[Array, "b k d"]:
    """Takes the tokens with the given ids, clip by clip.

    Args:
        tokens: Tokens.
        ids: Positions of the wanted tokens, each in [0, n): others are the caller's fault and are
            not looked for.

    Returns:
        The tokens in the order of the ids.
    """
    return jnp.take_along_axis(tokens, ids[:, :, None], axis=1, mode="promise_in_bounds")
