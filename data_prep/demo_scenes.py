"""Rendered clips of objects in motion, whose class is defined by the motion alone.

In the spirit of Something-Something V2: the appearance, size, place and speed of the object and its
background are independent of the class. A clip is a function of (seed, split, index) only.
Appearance and motion use separate random streams.

Lengths are in pixels, x to the right and y down; pixel i covers [i, i+1).
"""

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, UInt8

from data_prep import demo_drawing, demo_looks
from data_prep.demo_motions import DESIGN_SIZE, MOTIONS, RADII, Track

_NUM_FRAMES = (40, 56)
_PAN_PROBABILITY, _PAN_SPEED = 0.35, (0.15, 0.4)
_DISTRACTOR_COUNTS = (0, 0, 1, 1, 2, 3)
_MARGIN = 14  # What the fastest pan of the longest clip can uncover on each side.

CLASS_NAMES: tuple[str, ...] = tuple(MOTIONS)


@dataclasses.dataclass(frozen=True)
class DemoClip:
    """One rendered clip.

    Attributes:
        frames: RGB, 0..255.
        boxes: x1, y1, x2, y2 of the visible part of each of the k objects that the class is about,
            NaN where the object is hidden.
        label: Index into `CLASS_NAMES`.
        pan: Displacement of the whole scene, (x, y) in pixels per frame.
    """

    frames: UInt8[np.ndarray, "t h w 3"]
    boxes: Float32[np.ndarray, "t k 4"]
    label: int
    pan: Float[np.ndarray, "2"]


def _place(
    random: np.random.Generator, tracks: Sequence[Track], pan: Float[np.ndarray, "t 2"]
) -> list[Track]:
    """Moves the tracks to a random place at which they stay in the frame."""
    centres = np.stack([[track.x, track.y] for track in tracks]) + pan.T
    radii = np.stack([track.radius for track in tracks])[:, None]
    low, high = -(centres - radii).min((0, 2)), DESIGN_SIZE - (centres + radii).max((0, 2))
    x, y = (low + high) / 2 + random.uniform(-0.5, 0.5, size=2) * np.maximum(high - low, 0)
    return [dataclasses.replace(track, x=track.x + x, y=track.y + y) for track in tracks]


def _distractors(
    random: np.random.Generator, tracks: Sequence[Track]
) -> list[Float[np.ndarray, "3"]]:
    """Circles (x, y, radius) for still objects that touch neither a track nor each other."""
    taken = [np.stack([track.x, track.y, track.radius]) for track in tracks]
    circles = []
    for _ in range(random.choice(_DISTRACTOR_COUNTS)):
        for _ in range(20):
            radius = random.uniform(*RADII)
            x, y = random.uniform(radius, DESIGN_SIZE - radius, size=2)
            distances = [np.hypot(other[0] - x, other[1] - y) - other[2] for other in taken]
            if all((distance > radius + 2).all() for distance in distances):
                circles.append(np.array([x, y, radius]))
                taken.append(circles[-1])
                break
    return circles


def render_clip(seed: int, split: str, index: int) -> DemoClip:
    """Renders clip `index` of a split: 40 to 56 frames of `DESIGN_SIZE` x `DESIGN_SIZE` pixels.

    `seed`, of the whole dataset, is not negative. The class is `index` modulo the number of
    classes.
    """
    streams = np.random.SeedSequence([seed, zlib.crc32(split.encode()), index]).spawn(7)
    motion, looks, *object_looks = (np.random.default_rng(stream) for stream in streams)
    label = index % len(CLASS_NAMES)

    num_frames = int(motion.integers(_NUM_FRAMES[0], _NUM_FRAMES[1], endpoint=True))
    speed = motion.uniform(*_PAN_SPEED) if motion.uniform() < _PAN_PROBABILITY else 0.0
    direction = motion.uniform(0, 2 * np.pi)
    velocity = speed * np.array([np.cos(direction), np.sin(direction)])
    pan = (np.arange(num_frames)[:, None] - (num_frames - 1) / 2) * velocity
    tracks = _place(motion, MOTIONS[CLASS_NAMES[label]](motion, num_frames), pan)
    circles = _distractors(motion, tracks)

    palettes = [demo_looks.palette(looks)]
    scene = demo_looks.texture(
        looks, DESIGN_SIZE + 2 * _MARGIN, palettes[0], looks.uniform(3, 10), 36
    )
    for circle, random in zip(circles, object_looks[2:], strict=False):
        levels = demo_looks.sprite(random, demo_looks.contrasting_palette(random, palettes))
        x, y, radius = circle[:, None]
        angle = random.uniform(0, 2 * np.pi, size=1)
        patches = demo_drawing.draw(levels, x + _MARGIN, y + _MARGIN, radius, angle)
        demo_drawing.composite(scene, patches, 0)

    objects = []
    for track, random in zip(tracks, object_looks, strict=False):
        palettes.append(demo_looks.contrasting_palette(random, palettes))
        x, y = track.x + pan[:, 0], track.y + pan[:, 1]
        levels = demo_looks.sprite(random, palettes[-1])
        objects.append(demo_drawing.draw(levels, x, y, track.radius, track.angle))

    frames = np.empty((num_frames, DESIGN_SIZE, DESIGN_SIZE, 3), np.uint8)
    boxes = np.empty((num_frames, sum(track.has_box for track in tracks), 4), np.float32)
    for frame in range(num_frames):
        left, top = _MARGIN - pan[frame]
        canvas = demo_drawing.crop(scene, left, top, DESIGN_SIZE)
        visible = []
        for track, patches in zip(tracks, objects, strict=True):
            rows, columns, alpha = demo_drawing.composite(canvas, patches, frame)
            for further in visible:
                further[rows, columns] *= 1 - alpha
            if track.has_box:
                visible.append(np.zeros((DESIGN_SIZE, DESIGN_SIZE), np.float32))
                visible[-1][rows, columns] = alpha
        boxes[frame] = [demo_drawing.visible_box(alpha) for alpha in visible]
        frames[frame] = canvas + np.float32(0.5)
    return DemoClip(frames, boxes, label, velocity)
