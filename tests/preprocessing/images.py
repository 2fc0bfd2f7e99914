"""Images for the tests of augmentation, and Pillow's answers to them."""

import numpy as np
from PIL import Image


def noise(shape, seed=0, lowest=0, highest=255):
    """Every pixel on its own."""
    return np.random.default_rng(seed).integers(lowest, highest + 1, shape).astype(np.uint8)


def smooth(frames, height, width, seed=0):
    """A few waves per channel, `[frames, height, width, 3]`, as flat as a photograph."""
    r = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = np.full((frames, height, width, 3), 120.0)
    for _ in range(4):
        speed = r.uniform(-0.25, 0.25, (2, frames, 3))
        phase = r.uniform(0, 6.28, (frames, 3))
        waves = [
            np.sin(y[..., None] * sy + x[..., None] * sx + p)
            for sy, sx, p in zip(*speed, phase, strict=True)
        ]
        image += r.uniform(10, 30) * np.stack(waves)
    return np.clip(image, 0, 255).astype(np.uint8)


def by_pillow(function, frames):
    """Applies a function of one Pillow image to each frame."""
    return np.stack([np.asarray(function(Image.fromarray(frame))) for frame in frames])
