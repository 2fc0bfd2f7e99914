"""Pictures and animations as files; a file appears whole or not at all."""

import os
import pathlib
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from mgm_jax.io import make_path, replacing
from mgm_jax.pictures.motion_colours import colour_wheel

_WHEEL_IN_SAMPLE = 64  # Diameter, pixels.
_NEARLY_WHITE = 249


def save_png(path: str | os.PathLike, image: UInt8[np.ndarray, "height width 3"]) -> None:
    """Writes a picture; the file appears whole or not at all.

    Args:
        path: Where, ending in `.png`; folders are made.
        image: RGB.

    Raises:
        ValueError: If the path does not end in `.png`.
    """
    if pathlib.Path(path).suffix != ".png":
        raise ValueError(f"{path} does not end in .png, the format written")
    _write(path, [Image.fromarray(image)], format="PNG")


def save_animation(
    path: str | os.PathLike, images: UInt8[np.ndarray, "T height width 3"], fps: float
) -> None:
    """Writes an endless animation; the file appears whole or not at all.

    WebP and animated PNG keep all colours; GIF has 256, shared by all frames, and times in
    hundredths of a second, which are spread so that the whole keeps its length.

    Args:
        path: Where, ending in `.gif`, `.webp` or `.png`; folders are made.
        images: RGB, one per frame.
        fps: Pictures per second, at most 50: viewers slow down faster files.

    Raises:
        ValueError: If the ending is another, there are no images, or fps is out of range.
    """
    if not 0 < fps <= 50:
        raise ValueError(f"fps is {fps} for {path}; pass pictures per second, above 0, at most 50")
    if not len(images):
        raise ValueError(f"images are empty for {path}; an animation needs one at least")
    suffix = pathlib.Path(path).suffix
    options: dict[str, Any] = {"save_all": True, "loop": 0}
    options["duration"] = _durations(len(images), fps, tick_ms=10 if suffix == ".gif" else 1)
    pictures = [Image.fromarray(image) for image in images]
    if suffix == ".gif":
        _write(path, _shared_palette(images), format="GIF", optimize=False, **options)
    elif suffix == ".webp":
        _write(path, pictures, format="WEBP", quality=85, method=4, **options)
    elif suffix == ".png":
        _write(path, pictures, format="PNG", **options)
    else:
        raise ValueError(f"{path} ends in {suffix!r}; choose .gif, .webp or .png")


def _durations(count: int, fps: float, tick_ms: int) -> list[int]:
    """Milliseconds per frame, whole ticks whose sum stays true to fps."""
    ends = np.round(np.arange(count + 1) * 1000 / fps / tick_ms).astype(int)
    return [int(ticks) * tick_ms for ticks in np.diff(ends)]


def _shared_palette(images: np.ndarray) -> list[Image.Image]:
    """Indexed pictures on one palette, so that still parts do not flicker."""
    # The colour wheel as part of the sample keeps the pale colours of motion from turning grey.
    wheel = colour_wheel(_WHEEL_IN_SAMPLE).reshape(-1, 3)
    sample = images[:: max(len(images) // 4, 1)].reshape(-1, 3)
    sample = np.concatenate([sample, wheel.repeat(max(len(sample) // (5 * len(wheel)), 1), axis=0)])
    palette = Image.fromarray(sample[None]).quantize(256, Image.Quantize.MEDIANCUT)
    # Pillow's search of the palette is not exact: the background would come out off white.
    colours = np.array(palette.getpalette()).reshape(-1, 3)
    colours[colours.min(axis=1) >= _NEARLY_WHITE] = 255
    palette.putpalette(colours.reshape(-1).tolist())
    return [
        Image.fromarray(image).quantize(palette=palette, dither=Image.Dither.NONE)
        for image in images
    ]


def _write(path: str | os.PathLike, pictures: list[Image.Image], **options: Any) -> None:
    if "save_all" in options:
        options["append_images"] = pictures[1:]
    with replacing(make_path(path)) as file:
        pictures[0].save(file, **options)
