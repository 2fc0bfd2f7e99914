"""Rendered clips of objects in motion, whose class is told by the motion alone.

In the spirit of Something-Something V2: the look of the object and of the background, its size,
place and speed say nothing about the class; how it moves does. Every clip is a function of
(seed, split, index) only. Appearance and motion are drawn from separate random streams, so the
looks of clip i would be the same were it of another class.

Coordinates: x to the right and y down, in pixels of a 128-pixel frame (`DESIGN_SIZE`) while a
scene is laid out, in pixels of the frame where arrays leave this module. Pixel i covers [i, i+1).
"""

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, UInt8

from data_prep import demo_drawing, demo_looks
from data_prep.demo_motions import DESIGN_SIZE, MOTIONS, RADII, Track

_NUM_FRAMES = (40, 56)
_CAMERA_SHARE, _CAMERA_SPEED = 0.35, (0.15, 0.4)
_DISTRACTOR_COUNTS = (0, 0, 1, 1, 2, 3)
_MARGIN = 14  # what the fastest pan of the longest clip can uncover, on each side

CLASS_NAMES: tuple[str, ...] = tuple(MOTIONS)


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


def _anchor(
    random: np.random.Generator, tracks: Sequence[Track], pan: Float[np.ndarray, "t 2"]
) -> tuple[float, float]:
    """Where to put the middle of the action so that all of it stays in the picture."""
    anchor = []
    for centres, shift in zip(
        ([track.x for track in tracks], [track.y for track in tracks]), pan.T, strict=True
    ):
        radii = [track.radius for track in tracks]
        low = -min((c + shift - r).min() for c, r in zip(centres, radii, strict=True))
        high = DESIGN_SIZE - max((c + shift + r).max() for c, r in zip(centres, radii, strict=True))
        middle, room = (low + high) / 2, max(high - low, 0)
        anchor.append(middle + random.uniform(-0.5, 0.5) * room)
    return tuple(anchor)


def _free_circles(
    random: np.random.Generator, tracks: Sequence[Track]
) -> list[Float[np.ndarray, "3"]]:
    """Circles (x, y, radius) for still objects that no track and no other circle touches."""
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


def render_clip(seed: int, split: str, index: int, size: int = DESIGN_SIZE) -> DemoClip:
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
    unit = size / DESIGN_SIZE
    label = index % len(CLASS_NAMES)

    num_frames = int(motion.integers(_NUM_FRAMES[0], _NUM_FRAMES[1], endpoint=True))
    speed = motion.uniform(*_CAMERA_SPEED) if motion.uniform() < _CAMERA_SHARE else 0.0
    direction = motion.uniform(0, 2 * np.pi)
    velocity = speed * np.array([np.cos(direction), np.sin(direction)])
    pan = (np.arange(num_frames)[:, None] - (num_frames - 1) / 2) * velocity
    tracks = MOTIONS[CLASS_NAMES[label]](motion, num_frames)
    x, y = _anchor(motion, tracks, pan)
    tracks = [dataclasses.replace(track, x=track.x + x, y=track.y + y) for track in tracks]
    circles = _free_circles(motion, tracks)

    palette = demo_looks.palette(looks)
    margin = int(np.ceil(_MARGIN * unit))
    scene = demo_looks.texture(looks, size + 2 * margin, palette, looks.uniform(3, 10), 36)
    for circle, object_look in zip(circles, object_looks[2:], strict=False):
        levels = demo_looks.sprite(object_look, demo_looks.unlike(object_look, [palette]))
        still = circle[:, None] * unit
        angle = object_look.uniform(0, 2 * np.pi, size=1)
        patch = demo_drawing.draw(levels, still[0] + margin, still[1] + margin, still[2], angle)
        demo_drawing.composite(scene, patch, 0)

    palettes, patches = [palette], []
    for track, object_look in zip(tracks, object_looks, strict=False):
        palettes.append(demo_looks.unlike(object_look, palettes))
        x, y = (track.x + pan[:, 0]) * unit, (track.y + pan[:, 1]) * unit
        levels = demo_looks.sprite(object_look, palettes[-1])
        patches.append(demo_drawing.draw(levels, x, y, track.radius * unit, track.angle))

    frames = np.empty((num_frames, size, size, 3), np.uint8)
    boxes = np.empty((num_frames, sum(track.acting for track in tracks), 4), np.float32)
    for frame in range(num_frames):
        left, top = margin - pan[frame] * unit
        canvas = demo_drawing.window(scene, left, top, size)
        visible = []
        for track, patch in zip(tracks, patches, strict=True):
            rows, columns, alpha = demo_drawing.composite(canvas, patch, frame)
            for coverage in visible:
                coverage[rows, columns] *= 1 - alpha
            if track.acting:
                visible.append(np.zeros((size, size), np.float32))
                visible[-1][rows, columns] = alpha
        boxes[frame] = [demo_drawing.visible_box(coverage) for coverage in visible]
        frames[frame] = canvas + np.float32(0.5)
    return DemoClip(frames, boxes, label, velocity * unit)
