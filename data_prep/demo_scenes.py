"""Rendered clips of objects in motion, whose class is told by the motion alone.

In the spirit of Something-Something V2: the look of the object and of the background, its size,
place and speed say nothing about the class; how it moves does. Every clip is a function of
(seed, split, index) only. Appearance and motion are drawn from separate random streams, so the
looks of clip i would be the same were it of another class.

Coordinates: x to the right and y down, in pixels of a 128-pixel frame (`_DESIGN_SIZE`) while a
scene is laid out, in pixels of the frame where arrays leave this module. Pixel i covers [i, i+1).
"""

import dataclasses
import functools
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Float32, UInt8

_DESIGN_SIZE = 128
_RADII = (11.0, 20.0)
_NUM_FRAMES = (40, 56)
_CAMERA_SHARE, _CAMERA_SPEED = 0.35, (0.15, 0.4)
_DISTRACTOR_COUNTS = (0, 0, 1, 1, 2, 3)
_MARGIN = 14  # what the fastest pan of the longest clip can uncover, on each side

Random = np.random.Generator


@dataclasses.dataclass(frozen=True)
class DemoClip:
    """One rendered clip.

    Attributes:
        frames: RGB, 0..255.
        boxes: x1, y1, x2, y2 of the visible part of each of the k acting objects, in pixels of
            the frame, NaN where the object is wholly hidden.
        label: index into `CLASS_NAMES`.
        pan: displacement of the whole scene in the picture, (x, y) in pixels per frame.
    """

    frames: UInt8[np.ndarray, "t h w 3"]
    boxes: Float32[np.ndarray, "t k 4"]
    label: int
    pan: Float[np.ndarray, "2"]


@dataclasses.dataclass(frozen=True)
class _Track:
    """The way of one object, relative to the middle of the action; angles are clockwise."""

    x: Float[np.ndarray, "t"]
    y: Float[np.ndarray, "t"]
    radius: Float[np.ndarray, "t"]
    angle: Float[np.ndarray, "t"]
    acting: bool = True


# Motions: (random stream, number of frames) → tracks, the furthest object first.


def _progress(random: Random, num_frames: int) -> Float[np.ndarray, "t"]:
    """0 to 1 over most of the clip: starts and ends at random, more or less eased."""
    start, end, ease = random.uniform(0, 0.15), random.uniform(0.85, 1), random.uniform()
    linear = np.clip((np.linspace(0, 1, num_frames) - start) / (end - start), 0, 1)
    return linear + ease * (linear**2 * (3 - 2 * linear) - linear)


def _track(
    random: Random,
    num_frames: int,
    *,
    x: Float[np.ndarray, "t"] | float = 0.0,
    y: Float[np.ndarray, "t"] | float = 0.0,
    radius: Float[np.ndarray, "t"] | float | None = None,
    turn: Float[np.ndarray, "t"] | float = 0.0,
    acting: bool = True,
) -> _Track:
    """A track at rest but for what is given."""
    radius = random.uniform(*_RADII) if radius is None else radius
    angle = random.uniform(0, 2 * np.pi) + turn
    still = np.zeros(num_frames)
    return _Track(still + x, still + y, still + radius, still + angle, acting)


def _move(random: Random, num_frames: int, *, heading: float) -> list[_Track]:
    path = random.uniform(40, 64) * (_progress(random, num_frames) - 0.5)
    heading += np.deg2rad(random.uniform(-20, 20))
    return [_track(random, num_frames, x=path * np.cos(heading), y=path * np.sin(heading))]


def _approach(random: Random, num_frames: int, *, sign: int) -> list[_Track]:
    growth = random.uniform(1.8, 2.6) ** (sign * (_progress(random, num_frames) - 0.5))
    return [_track(random, num_frames, radius=random.uniform(*_RADII) * growth)]


def _turn(random: Random, num_frames: int, *, sign: int) -> list[_Track]:
    turn = np.deg2rad(random.uniform(100, 240)) * _progress(random, num_frames)
    return [_track(random, num_frames, turn=sign * turn)]


def _pass(random: Random, num_frames: int, *, in_front: bool) -> list[_Track]:
    passer_radius, other_radius = random.uniform(*_RADII), random.uniform(*_RADII)
    heading = random.uniform(0, 2 * np.pi)
    travel = 1.8 * (passer_radius + other_radius) + random.uniform(0, 8)
    path = travel * (_progress(random, num_frames) - 0.5)
    aside = random.uniform(-0.3, 0.3) * other_radius
    passer = _track(
        random,
        num_frames,
        x=path * np.cos(heading) - aside * np.sin(heading),
        y=path * np.sin(heading) + aside * np.cos(heading),
        radius=passer_radius,
    )
    other = _track(random, num_frames, radius=other_radius, acting=False)
    return [other, passer] if in_front else [passer, other]


def _bounce(random: Random, num_frames: int) -> list[_Track]:
    height, drift = random.uniform(40, 64), random.uniform(-12, 12)
    bounce = random.uniform(0.6, 0.8)  # speed after the floor over speed before
    fall = random.uniform(0.25, 0.35) * num_frames
    gravity = 2 * height / fall**2
    time = np.maximum(np.arange(num_frames) - random.uniform(0, 0.1) * num_frames, 0)
    above_floor = height - gravity / 2 * time**2
    touch, speed = fall, gravity * fall
    while touch < num_frames:
        speed *= bounce
        flight = time - touch
        above_floor = np.where(flight >= 0, speed * flight - gravity / 2 * flight**2, above_floor)
        touch += max(2 * speed / gravity, 1)
    return [
        _track(
            random,
            num_frames,
            x=drift * (time / num_frames - 0.5),
            y=height / 2 - np.maximum(above_floor, 0),
        )
    ]


def _toss(random: Random, num_frames: int) -> list[_Track]:
    height, drift = random.uniform(40, 64), random.uniform(-12, 12)
    duration = random.uniform(0.6, 0.85)
    start = random.uniform(0, 1 - duration)
    flight = np.clip((np.linspace(0, 1, num_frames) - start) / duration, 0, 1)
    y = height / 2 - 4 * height * flight * (1 - flight)
    return [_track(random, num_frames, x=drift * (flight - 0.5), y=y)]


def _two(random: Random, num_frames: int, *, apart: bool) -> list[_Track]:
    progress = _progress(random, num_frames)
    radii = random.uniform(*_RADII, size=2)
    gap = random.uniform(1, 6) + random.uniform(28, 38) * (progress if apart else 1 - progress)
    distance = radii.sum() + gap
    heading, share = random.uniform(0, 2 * np.pi), random.uniform(0.4, 0.6)
    return [
        _track(
            random,
            num_frames,
            x=side * distance * np.cos(heading),
            y=side * distance * np.sin(heading),
            radius=radius,
        )
        for side, radius in zip((share, share - 1), radii, strict=True)
    ]


_MOTIONS: dict[str, Callable[[Random, int], list[_Track]]] = {
    "moving something left": functools.partial(_move, heading=np.pi),
    "moving something right": functools.partial(_move, heading=0.0),
    "moving something up": functools.partial(_move, heading=-np.pi / 2),
    "moving something down": functools.partial(_move, heading=np.pi / 2),
    "moving something closer": functools.partial(_approach, sign=1),
    "moving something away": functools.partial(_approach, sign=-1),
    "turning something clockwise": functools.partial(_turn, sign=1),
    "turning something counter-clockwise": functools.partial(_turn, sign=-1),
    "passing something behind something": functools.partial(_pass, in_front=False),
    "passing something in front of something": functools.partial(_pass, in_front=True),
    "dropping something that bounces": _bounce,
    "tossing something up so that it falls back": _toss,
    "moving two things apart": functools.partial(_two, apart=True),
    "moving two things together": functools.partial(_two, apart=False),
}
CLASS_NAMES: tuple[str, ...] = tuple(_MOTIONS)


# Looks.


@functools.cache
def _spline_basis(size: int, cells: int) -> Float32[np.ndarray, "size points"]:
    """Weights of cells + 3 cubic B-spline control points at the centres of size pixels."""
    position = (np.arange(size) + 0.5) / size * cells
    distance = np.abs(position[:, None] - (np.arange(cells + 3) - 1))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


def _noise(random: Random, size: int, cells: Sequence[int]) -> Float32[np.ndarray, "size size"]:
    """Smooth noise, one octave for each number of cells, of zero mean and unit deviation."""
    noise = np.zeros((size, size), np.float32)
    for octave, count in enumerate(cells):
        basis = _spline_basis(size, count)
        control = random.standard_normal((basis.shape[1], basis.shape[1]), np.float32)
        # einsum and not matmul: BLAS may round differently with another number of threads.
        noise += 0.8**octave * np.einsum("ij,kj->ik", np.einsum("ij,jk->ik", basis, control), basis)
    return (noise - noise.mean()) / noise.std()


@functools.cache
def _grid(size: int) -> tuple[Float32[np.ndarray, "size size"], Float32[np.ndarray, "size size"]]:
    """Coordinates x, y of the pixel centres in [-1, 1]."""
    line = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
    return np.broadcast_to(line, (size, size)), np.broadcast_to(line[:, None], (size, size))


@functools.cache
def _polar(size: int) -> tuple[Float32[np.ndarray, "size size"], Float32[np.ndarray, "size size"]]:
    """Distance from the middle (1 at the edge's nearest point) and angle in [0, 2 pi)."""
    x, y = _grid(size)
    return np.hypot(x, y), np.arctan2(y, x) % np.float32(2 * np.pi)


def _halve(picture: np.ndarray) -> np.ndarray:
    """The picture at half its size: means over squares of four pixels."""
    rows = picture[::2] + picture[1::2]
    return (rows[:, ::2] + rows[:, 1::2]) / 4


def _pattern(random: Random, size: int, frequency: float) -> Float32[np.ndarray, "size size"]:
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
    elif kind == 2:  # stripes, not quite straight
        value = 2 * np.sin(wave * along + 0.5 * _noise(random, size, (3, 6)) + phase)
    elif kind == 3:  # rings around a point near the edge
        distance = np.hypot(x - 0.9 * np.cos(phase), y - 0.9 * np.sin(phase))
        value = 2 * np.sin(wave * distance + 0.5 * _noise(random, size, (3, 6)))
    else:  # gradient
        value = 1.5 * along + 0.5 * _noise(random, size, (3, 6))
    return 0.5 + 0.5 * np.tanh(np.float32(random.uniform(0.6, 1.6)) * value)


def _palette(random: Random) -> Float32[np.ndarray, "2 3"]:
    """Two random colours, RGB 0..255, at least as far from each other as one can tell."""
    while True:
        hue, value = random.uniform(0, 1, size=(2, 2))
        saturation = random.uniform(0.1, 0.85, size=2)
        value = 0.25 + 0.65 * value
        channel = np.array([5, 3, 1])
        k = (channel + 6 * hue[:, None]) % 6
        fall = np.clip(np.minimum(k, 4 - k), 0, 1)
        colours = 255 * value[:, None] * (1 - saturation[:, None] * fall)
        if np.linalg.norm(colours[0] - colours[1]) > 70:
            return colours.astype(np.float32)


def _texture(
    random: Random, size: int, palette: Float32[np.ndarray, "2 3"], frequency: float, cells: int
) -> Float32[np.ndarray, "size size 3"]:
    """A pattern in two colours under fine grain, whose finest octave has `cells` cells."""
    pattern = _pattern(random, size, frequency)[..., None]
    grain = random.uniform(8, 20) * _noise(random, size, (cells // 4, cells // 2, cells))
    shade = random.uniform(5, 20) * _noise(random, size, (2, 4))
    colour = palette[0] + (palette[1] - palette[0]) * pattern
    return np.clip(colour + (grain + shade)[..., None], 0, 255).astype(np.float32)


def _outline(random: Random) -> Float[np.ndarray, "angles"]:
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
        radius = (np.abs(np.cos(angle)) ** power + np.abs(np.sin(angle) / axis) ** power) ** (
            -1 / power
        )
    return radius / radius.max()


_SPRITE_RADIUS = 40  # pixels, in the largest level; a little more than the largest object


def _sprite(random: Random, palette: Float32[np.ndarray, "2 3"]) -> list[np.ndarray]:
    """An object's picture as a pyramid of premultiplied RGBA, each level half the one before."""
    size = 2 * (_SPRITE_RADIUS + 8)  # leaves the smallest level a clear pixel all round
    distance, angle = _polar(2 * size)
    distance = distance * np.float32(size / 2 / _SPRITE_RADIUS)
    outline = _outline(random)
    edge = np.interp(angle, np.linspace(0, 2 * np.pi, len(outline)), outline).astype(np.float32)
    alpha = np.clip((edge - distance) * np.float32(2 * _SPRITE_RADIUS) + 0.5, 0, 1)
    colour = _texture(random, size, palette, random.uniform(3, 6), 24)
    # Darker towards the rim, and at times a dark line around it, as solid things look.
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


# Drawing.


def _mix(first: np.ndarray, second: np.ndarray, weight: np.ndarray | np.float32) -> np.ndarray:
    """From first (weight 0) to second (weight 1)."""
    return first + (second - first) * weight


@dataclasses.dataclass(frozen=True)
class _Patches:
    """An object as it appears in every frame: squares of premultiplied RGBA and their corners."""

    rgba: Float32[np.ndarray, "t p p 4"]
    left: np.ndarray
    top: np.ndarray


def _draw(
    levels: list[np.ndarray],
    x: Float[np.ndarray, "t"],
    y: Float[np.ndarray, "t"],
    radius: Float[np.ndarray, "t"],
    angle: Float[np.ndarray, "t"],
) -> _Patches:
    """Places a sprite to a fraction of a pixel in all frames at once, bilinearly."""
    reach = int(np.ceil(radius.max())) + 1
    left, top = np.floor(x).astype(int) - reach, np.floor(y).astype(int) - reach
    line = np.arange(2 * reach + 1) + 0.5
    dx = (left - x)[:, None, None] + line
    dy = (top - y)[:, None, None] + line[:, None]
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    # The level whose pixels are at most as large as the frame's and more than half as large.
    depth = np.clip(np.log2(_SPRITE_RADIUS / radius).astype(int), 0, len(levels) - 1)
    sizes = np.array([len(level) for level in levels])
    starts = np.concatenate([[0], np.cumsum(sizes**2)])[depth][:, None, None]
    atlas = np.concatenate([level.reshape(-1, 4) for level in levels])
    size = sizes[depth][:, None, None]
    scale = (_SPRITE_RADIUS / 2.0**depth / radius)[:, None, None]
    u = np.clip((cos * dx + sin * dy) * scale + size / 2 - 0.5, 0, size - 1.001)
    v = np.clip((cos * dy - sin * dx) * scale + size / 2 - 0.5, 0, size - 1.001)
    column, row = u.astype(np.int32), v.astype(np.int32)
    weight_u = (u - column).astype(np.float32)[..., None]
    weight_v = (v - row).astype(np.float32)[..., None]
    corner = starts + row * size + column
    above, below = (
        _mix(atlas.take(pixel, axis=0), atlas.take(pixel + 1, axis=0), weight_u)
        for pixel in (corner, corner + size)
    )
    return _Patches(_mix(above, below, weight_v), left, top)


def _composite(
    canvas: Float32[np.ndarray, "h w 3"], patches: _Patches, frame: int
) -> tuple[slice, slice, Float32[np.ndarray, "r c"]]:
    """Lays one frame's patch over the canvas in place; returns where, and how much it covers."""
    height, width, _ = canvas.shape
    side = patches.rgba.shape[1]
    left, top = int(patches.left[frame]), int(patches.top[frame])
    x1, x2 = np.clip((left, left + side), 0, width)
    y1, y2 = np.clip((top, top + side), 0, height)
    rgba = patches.rgba[frame, y1 - top : y2 - top, x1 - left : x2 - left]
    rows, columns = slice(y1, y2), slice(x1, x2)
    canvas[rows, columns] *= 1 - rgba[..., 3:]
    canvas[rows, columns] += rgba[..., :3]
    return rows, columns, rgba[..., 3]


def _window(
    scene: Float32[np.ndarray, "scene_h scene_w 3"], left: float, top: float, size: int
) -> Float32[np.ndarray, "size size 3"]:
    """A square of the scene whose corner lies at a fraction of a pixel, bilinearly."""
    column, row = int(np.floor(left)), int(np.floor(top))
    if left == column and top == row:
        return scene[row : row + size, column : column + size].copy()
    window = scene[row : row + size + 1, column : column + size + 1]
    window = _mix(window[:-1], window[1:], np.float32(top - row))
    return _mix(window[:, :-1], window[:, 1:], np.float32(left - column))


def _visible_box(coverage: Float32[np.ndarray, "h w"]) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 around the pixels that are covered by half or more; NaN for none."""
    seen = coverage >= 0.5
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    if len(rows) == 0:
        return (np.nan,) * 4
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


# Layout.


def _anchor(
    random: Random, tracks: Sequence[_Track], pan: Float[np.ndarray, "t 2"]
) -> tuple[float, float]:
    """Where to put the middle of the action so that all of it stays in the picture."""
    anchor = []
    for centres, shift in zip(
        ([track.x for track in tracks], [track.y for track in tracks]), pan.T, strict=True
    ):
        radii = [track.radius for track in tracks]
        low = -min((c + shift - r).min() for c, r in zip(centres, radii, strict=True))
        high = _DESIGN_SIZE - max(
            (c + shift + r).max() for c, r in zip(centres, radii, strict=True)
        )
        middle, room = (low + high) / 2, max(high - low, 0)
        anchor.append(middle + random.uniform(-0.5, 0.5) * room)
    return tuple(anchor)


def _free_circles(random: Random, tracks: Sequence[_Track]) -> list[Float[np.ndarray, "3"]]:
    """Circles (x, y, radius) for still objects that no track and no other circle touches."""
    taken = [np.stack([track.x, track.y, track.radius]) for track in tracks]
    circles = []
    for _ in range(random.choice(_DISTRACTOR_COUNTS)):
        for _ in range(20):
            radius = random.uniform(*_RADII)
            x, y = random.uniform(radius, _DESIGN_SIZE - radius, size=2)
            distances = [np.hypot(other[0] - x, other[1] - y) - other[2] for other in taken]
            if all((distance > radius + 2).all() for distance in distances):
                circles.append(np.array([x, y, radius]))
                taken.append(circles[-1])
                break
    return circles


def _unlike(random: Random, others: Sequence[Float32[np.ndarray, "2 3"]]) -> np.ndarray:
    """A palette whose mean stands out from those of the others."""
    palettes = [_palette(random) for _ in range(12)]
    distances = [
        min(np.linalg.norm(palette.mean(0) - other.mean(0)) for other in others)
        for palette in palettes
    ]
    # The first that is clear enough, or else the clearest.
    return palettes[int(np.argmax(np.minimum(distances, 90)))]


def render_clip(seed: int, split: str, index: int, size: int = _DESIGN_SIZE) -> DemoClip:
    """Renders one clip, a function of its arguments only.

    Classes follow each other in turn (`index` modulo their number), so any number of clips from
    the start is balanced up to the remainder.

    Args:
        seed: seed of the whole set, not negative.
        split: name of the split; other names give other clips.
        index: number of the clip in its split, not negative.
        size: height and width of the frames in pixels.

    Returns:
        The clip: 40 to 56 frames, boxes of one or two acting objects, label and camera motion.
    """
    streams = np.random.SeedSequence([seed, zlib.crc32(split.encode()), index]).spawn(7)
    motion, looks, *object_looks = (np.random.default_rng(stream) for stream in streams)
    unit = size / _DESIGN_SIZE
    label = index % len(CLASS_NAMES)

    num_frames = int(motion.integers(_NUM_FRAMES[0], _NUM_FRAMES[1], endpoint=True))
    speed = motion.uniform(*_CAMERA_SPEED) if motion.uniform() < _CAMERA_SHARE else 0.0
    direction = motion.uniform(0, 2 * np.pi)
    velocity = speed * np.array([np.cos(direction), np.sin(direction)])
    pan = (np.arange(num_frames)[:, None] - (num_frames - 1) / 2) * velocity
    tracks = _MOTIONS[CLASS_NAMES[label]](motion, num_frames)
    x, y = _anchor(motion, tracks, pan)
    tracks = [dataclasses.replace(track, x=track.x + x, y=track.y + y) for track in tracks]
    circles = _free_circles(motion, tracks)

    palette = _palette(looks)
    margin = int(np.ceil(_MARGIN * unit))
    scene = _texture(looks, size + 2 * margin, palette, looks.uniform(3, 10), 36)
    for circle, object_look in zip(circles, object_looks[2:], strict=False):
        levels = _sprite(object_look, _unlike(object_look, [palette]))
        still = circle[:, None] * unit
        angle = object_look.uniform(0, 2 * np.pi, size=1)
        _composite(scene, _draw(levels, still[0] + margin, still[1] + margin, still[2], angle), 0)

    palettes, patches = [palette], []
    for track, object_look in zip(tracks, object_looks, strict=False):
        palettes.append(_unlike(object_look, palettes))
        x, y = (track.x + pan[:, 0]) * unit, (track.y + pan[:, 1]) * unit
        levels = _sprite(object_look, palettes[-1])
        patches.append(_draw(levels, x, y, track.radius * unit, track.angle))

    frames = np.empty((num_frames, size, size, 3), np.uint8)
    boxes = np.empty((num_frames, sum(track.acting for track in tracks), 4), np.float32)
    for frame in range(num_frames):
        left, top = margin - pan[frame] * unit
        canvas = _window(scene, left, top, size)
        visible = []
        for track, patch in zip(tracks, patches, strict=True):
            rows, columns, alpha = _composite(canvas, patch, frame)
            for coverage in visible:
                coverage[rows, columns] *= 1 - alpha
            if track.acting:
                visible.append(np.zeros((size, size), np.float32))
                visible[-1][rows, columns] = alpha
        boxes[frame] = [_visible_box(coverage) for coverage in visible]
        frames[frame] = canvas + np.float32(0.5)
    return DemoClip(frames, boxes, label, velocity * unit)
