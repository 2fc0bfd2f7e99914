"""Rendered clips in which a small model learns motion in minutes: plain shapes in steady motion.

Twelve classes that differ in the motion of one or two shapes. Every motion goes on for ever, and
starts at a random moment, so that one frame does not tell the class: shapes enter at the border and
leave, grow from nothing and fade, turn, circle, or shake. Shapes are large, some are limbs that
reach to the border, and the camera may pan.

Backgrounds have one colour, so that what is hard to predict where it is hidden is the motion. The
clips of a group, one of each class, share their looks; groups belong to one split. A clip is a
function of (seed, split, index) only. Lengths are in pixels, x to the right and y down, angles
clockwise in radians.
"""

import dataclasses
import zlib
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float32, UInt8

SIZE = 64  # Height and width of the frame.
NUM_FRAMES = 24
_RADII = (12.0, 19.0)
_NUM_SHAPES = (1, 1, 2)
_PAN_PROBABILITY, _PAN_SPEED = 0.35, (0.2, 0.6)
_CONTRAST = (80.0, 140.0)  # In RGB, of 0..255.
_TIME = np.arange(NUM_FRAMES, dtype=np.float32)
_Y, _X = np.mgrid[:SIZE, :SIZE].astype(np.float32) + 0.5


@dataclasses.dataclass(frozen=True)
class DemoClip:
    """One rendered clip.

    Attributes:
        frames: RGB, 0..255.
        boxes: x1, y1, x2, y2 of the visible part of each of the k shapes, NaN where the shape
            is hidden.
        label: Index into `CLASS_NAMES`.
        pan: Displacement of all shapes by the camera, (x, y) in pixels per frame.
    """

    frames: UInt8[np.ndarray, "t h w 3"]
    boxes: Float32[np.ndarray, "t k 4"]
    label: int
    pan: Float[np.ndarray, "2"]


@dataclasses.dataclass(frozen=True)
class _Track:
    """Centre, radius, rotation and opacity of one shape in every frame."""

    x: Float[np.ndarray, "t"]
    y: Float[np.ndarray, "t"]
    radius: Float[np.ndarray, "t"]
    angle: Float[np.ndarray, "t"]
    opacity: Float[np.ndarray, "t"]


def _still(random: np.random.Generator) -> _Track:
    x, y = random.uniform(8, SIZE - 8, size=2)
    radius, angle = random.uniform(*_RADII), random.uniform(0, 2 * np.pi)
    ones = np.ones(NUM_FRAMES)
    return _Track(x * ones, y * ones, radius * ones, angle * ones, ones)


def _pass(random: np.random.Generator, still: _Track, dx: int, dy: int) -> _Track:
    """Crosses the frame, and comes in again on the other side."""
    reach = 1.2 * still.radius.max()
    span = SIZE + 2 * reach
    path = random.uniform(0, span) + random.uniform(1.5, 3.5) * _TIME
    if dx:
        return dataclasses.replace(still, x=dx * path % span - reach)
    return dataclasses.replace(still, y=dy * path % span - reach)


def _scale(random: np.random.Generator, still: _Track, sign: int) -> _Track:
    """Grows from a third of the radius to twice it, or shrinks; fades at both ends."""
    span = np.log(6.0)
    phase = (random.uniform() + sign * random.uniform(0.05, 0.09) * _TIME / span) % 1
    opacity = np.clip(np.minimum(phase, 1 - phase) * 8, 0, 1)
    return dataclasses.replace(
        still, radius=still.radius / 3 * np.exp(span * phase), opacity=opacity
    )


def _turn(random: np.random.Generator, still: _Track, sign: int) -> _Track:
    speed = np.deg2rad(random.uniform(6, 14))
    return dataclasses.replace(still, angle=still.angle + sign * speed * _TIME)


def _circle(random: np.random.Generator, still: _Track, sign: int) -> _Track:
    angle = random.uniform(0, 2 * np.pi) + sign * np.deg2rad(random.uniform(9, 18)) * _TIME
    path = random.uniform(8, 16)
    return dataclasses.replace(
        still, x=still.x + path * np.cos(angle), y=still.y + path * np.sin(angle)
    )


def _shake(random: np.random.Generator, still: _Track, dx: int, dy: int) -> _Track:
    phase = random.uniform(0, 2 * np.pi) + 2 * np.pi / random.uniform(8, 14) * _TIME
    path = random.uniform(8, 16) * np.sin(phase)
    return dataclasses.replace(still, x=still.x + dx * path, y=still.y + dy * path)


_Motion = Callable[..., _Track]
_MOTIONS: dict[str, tuple[_Motion, dict[str, int]]] = {
    "passing to the left": (_pass, {"dx": -1, "dy": 0}),
    "passing to the right": (_pass, {"dx": 1, "dy": 0}),
    "rising": (_pass, {"dx": 0, "dy": -1}),
    "sinking": (_pass, {"dx": 0, "dy": 1}),
    "growing": (_scale, {"sign": 1}),
    "shrinking": (_scale, {"sign": -1}),
    "turning clockwise": (_turn, {"sign": 1}),
    "turning counter-clockwise": (_turn, {"sign": -1}),
    "circling clockwise": (_circle, {"sign": 1}),
    "circling counter-clockwise": (_circle, {"sign": -1}),
    "shaking sideways": (_shake, {"dx": 1, "dy": 0}),
    "shaking up and down": (_shake, {"dx": 0, "dy": 1}),
}
CLASS_NAMES: tuple[str, ...] = tuple(_MOTIONS)


def _background(random: np.random.Generator) -> Float32[np.ndarray, "3"]:
    """A colour that is far enough from black and white to be tinted."""
    return random.uniform(64, 192, size=3).astype(np.float32)


def _tint(random: np.random.Generator) -> Float32[np.ndarray, "3"]:
    """What a shape adds to the colour behind it."""
    direction = random.normal(size=3)
    return np.float32(random.uniform(*_CONTRAST) * direction / np.linalg.norm(direction))


@dataclasses.dataclass(frozen=True)
class _Shape:
    """Outline and tint of a shape of radius 1."""

    kind: int
    width: float
    tint: Float32[np.ndarray, "3"]

    def coverage(self, track: _Track) -> Float32[np.ndarray, "t h w"]:
        """The part of each pixel that is covered."""
        x, y, radius, angle, opacity = (
            np.float32(values)[:, None, None]
            for values in (track.x, track.y, track.radius, track.angle, track.opacity)
        )
        cos, sin = np.cos(angle) / radius, np.sin(angle) / radius
        dx, dy = _X - x, _Y - y
        u, v = cos * dx + sin * dy, cos * dy - sin * dx
        if self.kind == 0:  # ellipse
            outside = (np.hypot(u, v / self.width) - 1) * self.width
        elif self.kind == 1:  # rectangle
            outside = np.maximum(np.abs(u) - 0.9, np.abs(v) - 0.9 * self.width)
        elif self.kind == 2:  # triangle
            outside = np.maximum(-v - 0.4, np.abs(u) / self.width * 0.5 + 0.5 * v - 0.5)
        elif self.kind == 3:  # angle of two bars
            bars = (
                (np.abs(u) - 0.9, np.abs(v + 0.6) - 0.3),
                (np.abs(u + 0.6) - 0.3, np.abs(v) - 0.9),
            )
            outside = np.minimum(np.maximum(*bars[0]), np.maximum(*bars[1]))
        else:  # limb, which reaches to the border
            outside = np.hypot(np.minimum(u + 0.5, 0), v) - 0.7 * self.width
        return np.clip(0.5 - outside * radius, 0, 1) * opacity


def _shape(random: np.random.Generator) -> _Shape:
    return _Shape(int(random.integers(5)), random.uniform(0.45, 0.75), _tint(random))


def _visible_box(alpha: Float32[np.ndarray, "h w"]) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 around the pixels of at least half alpha; NaN if there are none."""
    visible = alpha >= 0.5
    rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    if len(rows) == 0:
        return (np.nan,) * 4
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


HEADINGS = ("going left", "going right", "going up", "going down", "standing still")
"""What each object of a mixed clip does (`render_mixed_clip`)."""


def _draw_mixed(
    seed: int, split: str, index: int
) -> tuple[list[tuple[int, _Track, _Shape]], Float32[np.ndarray, "3"]]:
    """Heading, track and shape of two or three objects, and the background's colour."""
    random = np.random.default_rng([seed, zlib.crc32(split.encode()), 2, index])
    ways = ({"dx": -1, "dy": 0}, {"dx": 1, "dy": 0}, {"dx": 0, "dy": -1}, {"dx": 0, "dy": 1}, None)
    background = _background(random)
    objects = []
    for _ in range(int(random.integers(2, 4))):
        heading = int(random.integers(len(HEADINGS)))
        radius = np.full(NUM_FRAMES, random.uniform(8, 13))
        track = dataclasses.replace(_still(random), radius=radius)
        way = ways[heading]
        if way is not None:
            track = _pass(random, track, **way)
        shape = _Shape(int(random.integers(4)), random.uniform(0.6, 0.9), _tint(random))
        objects.append((heading, track, shape))
    return objects, background


def mixed_boxes(
    seed: int, split: str, index: int
) -> tuple[Float32[np.ndarray, "k 4"], tuple[int, ...]]:
    """What a mixed clip shows in its middle frame: boxes in pixels and headings of its objects.

    Objects of which less than 6 pixels show are left out.
    """
    middle = slice(NUM_FRAMES // 2, NUM_FRAMES // 2 + 1)
    objects, _ = _draw_mixed(seed, split, index)
    found = []
    for _, track, shape in objects:
        parts = {field.name: getattr(track, field.name) for field in dataclasses.fields(track)}
        alpha = shape.coverage(_Track(**{name: part[middle] for name, part in parts.items()}))
        found.append(_visible_box(alpha[0]))
    boxes = np.array(found, np.float32)
    shown = ((boxes[:, 2:] - boxes[:, :2]) >= 6).all(axis=1)
    return boxes[shown], tuple(objects[i][0] for i in np.flatnonzero(shown))


def render_mixed_clip(seed: int, split: str, index: int) -> UInt8[np.ndarray, "t h w 3"]:
    """Renders a clip of two or three objects, each of which goes its own way or stands still."""
    objects, background = _draw_mixed(seed, split, index)
    frames = np.tile(background, (NUM_FRAMES, SIZE, SIZE, 1))
    for _, track, shape in objects:
        frames += shape.tint * shape.coverage(track)[..., None]
    return np.uint8(np.clip(frames + 0.5, 0, 255))


def render_clip(seed: int, split: str, index: int) -> DemoClip:
    """Renders clip `index` of a split: `NUM_FRAMES` frames of `SIZE` x `SIZE` pixels.

    `seed`, of the whole dataset, is not negative. The class is `index` modulo the number of
    classes, the group of looks `index` divided by it.
    """
    group, label = divmod(index, len(CLASS_NAMES))
    place = [seed, zlib.crc32(split.encode())]
    looks = np.random.default_rng([*place, 0, group])
    motion = np.random.default_rng([*place, 1, index])

    background = _background(looks)
    shapes = [_shape(looks) for _ in range(max(_NUM_SHAPES))]
    speed = motion.uniform(*_PAN_SPEED) if motion.uniform() < _PAN_PROBABILITY else 0.0
    direction = motion.uniform(0, 2 * np.pi)
    pan = speed * np.array([np.cos(direction), np.sin(direction)])
    shift = (_TIME - NUM_FRAMES / 2)[:, None] * pan

    move, sense = _MOTIONS[CLASS_NAMES[label]]
    num_shapes = int(motion.choice(_NUM_SHAPES))
    tracks = [move(motion, _still(motion), **sense) for _ in range(num_shapes)]

    frames = np.tile(background, (NUM_FRAMES, SIZE, SIZE, 1))
    boxes = []
    for track, shape in zip(tracks, shapes, strict=False):
        track = dataclasses.replace(track, x=track.x + shift[:, 0], y=track.y + shift[:, 1])
        alpha = shape.coverage(track)
        frames += shape.tint * alpha[..., None]
        boxes.append([_visible_box(frame) for frame in alpha])
    return DemoClip(
        np.uint8(np.clip(frames + 0.5, 0, 255)),
        np.array(boxes, np.float32).swapaxes(0, 1),
        label,
        pan,
    )
