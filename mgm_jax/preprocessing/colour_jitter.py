"""Random shifts of hue, saturation and brightness, one for all frames of a clip."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


def colour_jitter(
    keys: Key[Array, " b"],
    clips: Float[Array, "b T H W 3"],
    reach: tuple[float, float, float],
) -> Float[Array, "b T H W 3"]:
    """Shifts hue, saturation and value of RGB in [0, 1], as VideoMAE's code for AVA does.

    Args:
        keys: One per clip.
        clips: RGB.
        reach: The largest shift of the hue in degrees, and of saturation and value as fractions.
    """
    if not any(reach):
        return clips
    uniform = jax.vmap(lambda key: jax.random.uniform(key, (3,), minval=-1.0))(keys)
    return jax.vmap(shift_hsv)(clips, uniform * jnp.array(reach))


def shift_hsv(rgb: Float[Array, "*shape 3"], shift: Float[Array, "3"]) -> Float[Array, "*shape 3"]:
    """Adds to hue (degrees, round the circle), saturation and value (cut off at 0 and 1)."""
    value, least = rgb.max(axis=-1), rgb.min(axis=-1)
    chroma = value - least
    red, green, blue = jnp.moveaxis(rgb, -1, 0)
    divisor = jnp.where(chroma > 0, chroma, 1.0)
    hue = jnp.where(
        value == red,
        (green - blue) / divisor,
        jnp.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    hue = hue * 60 + shift[0]
    saturation = chroma / jnp.where(value > 0, value, 1.0)
    saturation = jnp.clip(saturation + shift[1], 0, 1)
    value = jnp.clip(value + shift[2], 0, 1)
    # Each channel is the value, less the chroma where the hue is far from the channel's own.
    place = jnp.mod(jnp.array([5.0, 3.0, 1.0]) + hue[..., None] / 60, 6)
    share = jnp.clip(jnp.minimum(place, 4 - place), 0, 1)
    return value[..., None] * (1 - saturation[..., None] * share)
