"""Pictures and animations as files; each file appears whole or not at all."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from mgm_jax.io import AnyPath, replacing


def save_png(path: AnyPath, picture: UInt8[np.ndarray, "height width 3"]) -> None:
    """Writes an RGB picture as PNG, and makes its folder."""
    with replacing(path) as file:
        Image.fromarray(picture).save(file, "PNG")


def save_animation(
    path: AnyPath, pictures: Iterable[UInt8[np.ndarray, "height width 3"]], fps: int
) -> None:
    """Writes RGB pictures as an endless animated WebP, and makes its folder."""
    first, *others = map(Image.fromarray, pictures)
    options = {"append_images": others, "duration": round(1000 / fps), "loop": 0}
    with replacing(path) as file:
        first.save(file, "WEBP", save_all=True, quality=85, method=2, **options)
