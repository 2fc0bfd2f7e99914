"""Random textures and sprites: what objects and backgrounds of the demo clips look like.

Colours are RGB 0..255; a palette is two colours.
"""

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, UInt8

SPRITE_RADIUS = 40  # Pixels, in the largest level; a little more than the largest object.


@functools.cache
def _spline_basis(size: int, cells: int) -> Float32[np.ndarray, "size points"]:
    """Weights of cells + 3 cubic B-spline control points at the centres of size pixels."""
    position = (np.arange(size) + 0.5) / size * cells
    distance = np.abs(position[:, None] - (np.arange(cells + 3) - 1))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


def _noise(
    random: np.random.Generator, size: int, cells: Sequence[int]
) -> Float32[np.ndarray, "size size"]:
    """Smooth noise, one octave for each number of cells, of zero mean and unit deviation."""
    noise = np.zeros((size, size), np.float32)
    for octave, count in enumerate(cells):
        basis = _spline_basis(size, count)
        control = random.standard_normal((basis.shape[1], basis.shape[1]), np.float32)
        # einsum, because the rounding of BLAS depends on the number of threads.
        noise += 0.8**octave * np.einsum("ij,kj->ik", np.einsum("ij,jk->ik", basis, control), basis)
    return (noise - noise.mean()) / noise.std()


@functools.cache
def _grid(size: int) -> tuple[Float32[np.ndarray, "size size"], Float32[np.ndarray, "size size"]]:
    """Coordinates x, y of the pixel centres in [-1, 1]."""
    line = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
    return np.broadcast_to(line, (size, size)), np.broadcast_to(line[:, None], (size, size))


def _halve(picture: np.ndarray) -> np.ndarray:
    """The picture at half its size: means over squares of four pixels."""
    rows = picture[::2] + picture[1::2]
    return (rows[:, ::2] + rows[:, 1::2]) / 4


def _pattern(
    random: np.random.Generator, size: int, frequency: float
) -> Float32[np.ndarray, "size size"]:
    """A random pattern in [0, 1]; `frequency` is its cycles from edge to edge."""
    x, y = _grid(size)
    direction, phase = random.uniform(0, 2 * np.pi, size=2)
    along = np.float32(np.cos(direction)) * x + np.float32(np.sin(direction)) * y
    across = np.float32(np.cos(direction)) * y - np.float32(np.sin(direction)) * x
    wave, phase = np.float32(np.pi * frequency), np.float32(phase)
    kind = random.integers(5)
    if kind == 0:  # patches
        cells = max(int(frequency), 2)
        value = 2 * _noise(random, size, (cells, 2 * cells))
    elif kind == 1:  # checks
        value = 4 * np.sin(wave * along + phase) * np.sin(wave * across)
    elif kind == 2:  # wavy stripes
        value = 2 * np.sin(wave * along + 0.5 * _noise(random, size, (3, 6)) + phase)
    elif kind == 3:  # rings around a point near the edge
        distance = np.hypot(x - 0.9 * np.cos(phase), y - 0.9 * np.sin(phase))
        value = 2 * np.sin(wave * distance + 0.5 * _noise(random, size, (3, 6)))
    else:  # gradient
        value = 1.5 * along + 0.5 * _noise(random, size, (3, 6))
    return 0.5 + 0.5 * np.tanh(np.float32(random.uniform(0.6, 1.6)) * value)


def palette(random: np.random.Generator) -> Float32[np.ndarray, "2 3"]:
    """Two random colours that are easy to tell apart."""
    while True:
        hue, value = random.uniform(0, 1, size=(2, 2))
        saturation = random.uniform(0.1, 0.85, size=2)
        value = 0.25 + 0.65 * value
        k = (np.array([5, 3, 1]) + 6 * hue[:, None]) % 6  # HSV to RGB
        fall = np.clip(np.minimum(k, 4 - k), 0, 1)
        colours = 255 * value[:, None] * (1 - saturation[:, None] * fall)
        if np.linalg.norm(colours[0] - colours[1]) > 70:
            return colours.astype(np.float32)


def contrasting_palette(
    random: np.random.Generator, others: Sequence[Float32[np.ndarray, "2 3"]]
) -> Float32[np.ndarray, "2 3"]:
    """A random palette whose mean colour differs from those of the others."""
    palettes = [palette(random) for _ in range(12)]
    distances = [
        min(np.linalg.norm(palette.mean(0) - other.mean(0)) for other in others)
        for palette in palettes
    ]
    # The first that differs enough, otherwise the one that differs most.
    return palettes[int(np.argmax(np.minimum(distances, 90)))]


def texture(
    random: np.random.Generator,
    size: int,
    palette: Float32[np.ndarray, "2 3"],
    frequency: float,
    cells: int,
) -> Float32[np.ndarray, "size size 3"]:
    """A random pattern in two colours under fine grain.

    From edge to edge there are `frequency` cycles of the pattern, and `cells` cells (at least 4)
    of the grain's finest octave.
    """
    pattern = _pattern(random, size, frequency)[..., None]
    grain = random.uniform(8, 20) * _noise(random, size, (cells // 4, cells // 2, cells))
    shade = random.uniform(5, 20) * _noise(random, size, (2, 4))
    colour = palette[0] + (palette[1] - palette[0]) * pattern
    return np.clip(colour + (grain + shade)[..., None], 0, 255).astype(np.float32)


def _outline(random: np.random.Generator) -> Float[np.ndarray, "angles"]:
    """Radius in (0, 1] of a random shape, as a function of the angle over the whole circle."""
    angle = np.linspace(0, 2 * np.pi, 721)
    kind = random.integers(5)
    if kind == 0:  # blob
        orders = np.arange(2, 6)[:, None]
        waves = np.cos(orders * angle + random.uniform(0, 2 * np.pi, size=(4, 1)))
        radius = np.exp((random.uniform(0, 0.45, size=(4, 1)) / orders**0.5 * waves).sum(0))
    elif kind == 1:  # polygon with corners on a circle
        corners = int(random.integers(3, 8))
        step = 2 * np.pi / corners
        at = step * (np.arange(corners) + random.uniform(-0.2, 0.2, size=corners))
        start = np.searchsorted(at, angle, side="right") - 1
        low = np.where(start < 0, at[-1] - 2 * np.pi, at[start])
        high = np.where(start + 1 < corners, at[(start + 1) % corners], at[0] + 2 * np.pi)
        radius = np.cos((high - low) / 2) / np.cos(angle - (low + high) / 2)
    elif kind == 2:  # ellipse
        axis = random.uniform(0.5, 0.9)
        radius = axis / np.hypot(axis * np.cos(angle), np.sin(angle))
    elif kind == 3:  # star
        points, inner = random.integers(4, 8), random.uniform(0.45, 0.7)
        tooth = np.abs((angle * points / (2 * np.pi)) % 1 * 2 - 1)
        radius = inner + (1 - inner) * tooth
    else:  # rounded rectangle
        power, axis = random.uniform(3, 8), random.uniform(0.5, 1)
        sides = np.abs(np.cos(angle)) ** power + np.abs(np.sin(angle) / axis) ** power
        radius = sides ** (-1 / power)
    return radius / radius.max()


def sprite(
    random: np.random.Generator, palette: Float32[np.ndarray, "2 3"]
) -> list[Float32[np.ndarray, "_ _ 4"]]:
    """A random object of random outline, at four sizes, the largest first.

    Returns:
        Square premultiplied RGBA: RGB 0..255 times alpha, alpha 0..1. The object is in the middle
        of the square; its radius is `SPRITE_RADIUS` in the largest level, and halves from level to
        level.
    """
    size = 2 * (SPRITE_RADIUS + 8)  # The smallest level has a transparent pixel all round.
    x, y = _grid(2 * size)
    angle = np.arctan2(y, x) % np.float32(2 * np.pi)
    distance = np.hypot(x, y) * np.float32(size / 2 / SPRITE_RADIUS)
    outline = _outline(random)
    edge = np.interp(angle, np.linspace(0, 2 * np.pi, len(outline)), outline).astype(np.float32)
    alpha = np.clip((edge - distance) * np.float32(2 * SPRITE_RADIUS) + 0.5, 0, 1)
    colour = texture(random, size, palette, random.uniform(3, 6), 24)
    # Darker towards the rim, and sometimes with a dark line around it, like solid things.
    rim = _halve(np.minimum(distance / edge, 1)) ** 3
    shade = 1 - random.uniform(0.1, 0.4) * rim
    if random.uniform() < 0.4:
        shade *= 1 - 0.7 * np.clip((rim - 0.6) * 5, 0, 1)
    alpha = _halve(alpha)[..., None]
    level = np.concatenate([colour * shade[..., None] * alpha, alpha], axis=-1)
    levels = [level.astype(np.float32)]
    for _ in range(3):
        levels.append(_halve(levels[-1]))
    return levels


def grey_negative(frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t h w 3"]:
    """Frames without colour and with inverted brightness: the look of another domain."""
    grey = frames @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.repeat((255.5 - grey).astype(np.uint8)[..., None], 3, axis=-1)
