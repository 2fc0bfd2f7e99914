"""Random erasing (Zhong et al., 2020): a box of noise through all frames of a clip."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

_TRIES = 10


def erase(
    keys: Key[Array, " b"],
    clips: Float[Array, "b T H W c"],
    *,
    probability: float = 0.25,
    area: tuple[float, float] = (0.02, 1 / 3),
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
) -> Float[Array, "b T H W c"]:
    """Replaces a box by normal noise, new for each pixel and frame, in some of the clips.

    The box is that of VideoMAE's `RandomErasing` with mode "pixel" and one cube: uniform area,
    log-uniform aspect ratio, rounded sides, uniform position. A box that is not smaller than the
    frame is drawn again up to 10 times; after that the clip stays as it is.

    Args:
        keys: One key per clip.
        clips: Clips of zero mean and unit variance, i.e. after `rgb.normalise`.
        probability: Probability that a clip is erased.
        area: Smallest and largest fraction of the frame.
        aspect: Smallest and largest height / width.
    """

    def erase_one(key: Key[Array, ""], clip: Float[Array, "T H W c"]) -> Float[Array, "T H W c"]:
        height, width = clip.shape[1:3]
        chance_key, box_key, noise_key = jax.random.split(key, 3)
        erased = jax.random.uniform(chance_key) < probability
        top, left, rows, columns = draw_box(box_key, height, width, area, aspect)
        y, x = jnp.arange(height)[:, None], jnp.arange(width)
        inside = (y >= top) & (y < top + rows) & (x >= left) & (x < left + columns)
        noise = jax.random.normal(noise_key, clip.shape, clip.dtype)
        return jnp.where((inside & erased)[:, :, None], noise, clip)

    return jax.vmap(erase_one)(keys, clips)


def draw_box(
    key: Key[Array, ""],
    height: int,
    width: int,
    area: tuple[float, float],
    aspect: tuple[float, float],
) -> tuple[Array, Array, Array, Array]:
    """Draws (top, left, rows, columns) of a box, see `erase`; rows = columns = 0 if none fits."""
    uniform = jax.random.uniform(key, (_TRIES + 1, 2))
    for_area, for_aspect = uniform[:-1].T
    pixels = height * width * (area[0] + (area[1] - area[0]) * for_area)
    ratio = aspect[0] * (aspect[1] / aspect[0]) ** for_aspect
    rows = jnp.round(jnp.sqrt(pixels * ratio)).astype(jnp.int32)
    columns = jnp.round(jnp.sqrt(pixels / ratio)).astype(jnp.int32)
    fits = (rows < height) & (columns < width)
    first = jnp.argmax(fits)
    rows, columns = (jnp.where(fits[first], side[first], 0) for side in (rows, columns))
    free = jnp.array([height, width]) - jnp.array([rows, columns])
    top, left = jnp.floor(uniform[-1] * (free + 1)).astype(jnp.int32)
    return top, left, rows, columns
