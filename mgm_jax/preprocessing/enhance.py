"""Pillow's image enhancements, on integer levels 0 to 255 held as floats."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# ITU-R 601 luma weights of R, G and B in 1/65536, as Pillow has them.
GREY_WEIGHTS = (19595, 38470, 7471)


def blend(
    degenerate: Float[Array, "*#shape"], image: Float[Array, "*#shape"], factor: Float[Array, ""]
) -> Float[Array, "*shape"]:
    """Interpolates from the degenerate image (factor 0) to the image (1), or beyond.

    Clipped to 0 to 255 and rounded down, as Pillow's `Image.blend` does.
    """
    return jnp.floor(jnp.clip(degenerate + factor * (image - degenerate), 0.0, 255.0))


def saturate(frames: Float[Array, "*b 3"], factor: Float[Array, ""]) -> Float[Array, "*b 3"]:
    """Changes the saturation of RGB levels (`ImageEnhance.Color`): 0 is grey, 1 is unchanged."""
    grey = frames.astype(jnp.int32) * jnp.array(GREY_WEIGHTS)
    grey = (grey.sum(axis=-1, keepdims=True) + 0x8000) >> 16
    return blend(grey.astype(frames.dtype), frames, factor)


def sharpen(frames: Float[Array, "T H W c"], factor: Float[Array, ""]) -> Float[Array, "T H W c"]:
    """Changes the sharpness (`ImageEnhance.Sharpness`): 0 is smooth, 1 is unchanged.

    Pixels on the frame's border are not smoothed.
    """
    inner = frames[:, 1:-1, 1:-1]
    sums = frames[:, :-2] + frames[:, 1:-1] + frames[:, 2:]
    sums = sums[:, :, :-2] + sums[:, :, 1:-1] + sums[:, :, 2:]
    smooth = jnp.floor((sums + 4.0 * inner) / 13.0 + 0.5)
    degenerate = jax.lax.dynamic_update_slice(frames, smooth, (0, 1, 1, 0))
    return blend(degenerate, frames, factor)
