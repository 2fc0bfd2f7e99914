"""Pillow's enhancements of images of whole levels 0 to 255 held as floats."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def blend(
    degenerate: Float[Array, "*#shape"], image: Float[Array, "*#shape"], factor: Float[Array, ""]
) -> Float[Array, "*shape"]:
    """Goes from the degenerate image (factor 0) to the image (1) and beyond.

    Args:
        degenerate: Levels without what is enhanced.
        image: Levels.
        factor: How far to go.

    Returns:
        Levels in 0 to 255, rounded down as Pillow's `Image.blend` does.
    """
    return jnp.floor(jnp.clip(degenerate + factor * (image - degenerate), 0.0, 255.0))


def saturate(frames: Float[Array, "*b 3"], factor: Float[Array, ""]) -> Float[Array, "*b 3"]:
    """Changes the colours' saturation; `ImageEnhance.Color`.

    Args:
        frames: RGB levels.
        factor: 0 gives grey, 1 the frames as they are.

    Returns:
        RGB levels.
    """
    grey = frames.astype(jnp.int32) * jnp.array([19595, 38470, 7471])
    grey = (grey.sum(axis=-1, keepdims=True) + 0x8000) >> 16
    return blend(grey.astype(frames.dtype), frames, factor)


def sharpen(frames: Float[Array, "T H W c"], factor: Float[Array, ""]) -> Float[Array, "T H W c"]:
    """Sharpens or smoothes; `ImageEnhance.Sharpness`.

    Args:
        frames: Levels.
        factor: 0 smoothes, 1 gives the frames as they are.

    Returns:
        Levels; those of a frame's border are not smoothed.
    """
    inner = frames[:, 1:-1, 1:-1]
    sums = frames[:, :-2] + frames[:, 1:-1] + frames[:, 2:]
    sums = sums[:, :, :-2] + sums[:, :, 1:-1] + sums[:, :, 2:]
    smooth = jnp.floor((sums + 4.0 * inner) / 13.0 + 0.5)
    degenerate = jax.lax.dynamic_update_slice(frames, smooth, (0, 1, 1, 0))
    return blend(degenerate, frames, factor)
