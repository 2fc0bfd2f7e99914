"""How the objects of the demo clips move: one motion per class.

Lengths are in pixels of a frame of `DESIGN_SIZE`, x to the right and y down; angles are in radians,
clockwise.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

DESIGN_SIZE = 128  # Height and width of the frame.
RADII = (11.0, 20.0)  # Smallest and largest radius of an object of constant size.

_Scalars = Float[np.ndarray, "t"] | float


@dataclasses.dataclass(frozen=True)
class Track:
    """Centre, radius and rotation of one object over t frames.

    A motion returns centres relative to the middle of the action. Only objects that the class is
    about have a box.
    """

    x: Float[np.ndarray, "t"]
    y: Float[np.ndarray, "t"]
    radius: Float[np.ndarray, "t"]
    angle: Float[np.ndarray, "t"]
    has_box: bool = True


def _progress(random: np.random.Generator, num_frames: int) -> Float[np.ndarray, "t"]:
    """0 to 1 over most of the clip, with random start, end and easing."""
    start, end, ease = random.uniform(0, 0.15), random.uniform(0.85, 1), random.uniform()
    linear = np.clip((np.linspace(0, 1, num_frames) - start) / (end - start), 0, 1)
    return linear + ease * (linear**2 * (3 - 2 * linear) - linear)


def _track(
    random: np.random.Generator,
    num_frames: int,
    x: _Scalars = 0.0,
    y: _Scalars = 0.0,
    *,
    radius: _Scalars | None = None,
    rotation: _Scalars = 0.0,
    has_box: bool = True,
) -> Track:
    """A track that is constant in everything that is not given."""
    radius = random.uniform(*RADII) if radius is None else radius
    angle = random.uniform(0, 2 * np.pi) + rotation
    zeros = np.zeros(num_frames)
    return Track(zeros + x, zeros + y, zeros + radius, zeros + angle, has_box)


def _move(random: np.random.Generator, num_frames: int, *, heading: float) -> list[Track]:
    path = random.uniform(40, 64) * (_progress(random, num_frames) - 0.5)
    heading += np.deg2rad(random.uniform(-20, 20))
    return [_track(random, num_frames, path * np.cos(heading), path * np.sin(heading))]


def _approach(random: np.random.Generator, num_frames: int, *, sign: int) -> list[Track]:
    growth = random.uniform(1.8, 2.6) ** (sign * (_progress(random, num_frames) - 0.5))
    return [_track(random, num_frames, radius=random.uniform(*RADII) * growth)]


def _turn(random: np.random.Generator, num_frames: int, *, sign: int) -> list[Track]:
    turn = np.deg2rad(random.uniform(100, 240)) * _progress(random, num_frames)
    return [_track(random, num_frames, rotation=sign * turn)]


def _pass(random: np.random.Generator, num_frames: int, *, in_front: bool) -> list[Track]:
    moving_radius, still_radius = random.uniform(*RADII), random.uniform(*RADII)
    heading = random.uniform(0, 2 * np.pi)
    travel = 1.8 * (moving_radius + still_radius) + random.uniform(0, 8)
    path = travel * (_progress(random, num_frames) - 0.5)
    aside = random.uniform(-0.3, 0.3) * still_radius
    x = path * np.cos(heading) - aside * np.sin(heading)
    y = path * np.sin(heading) + aside * np.cos(heading)
    moving = _track(random, num_frames, x, y, radius=moving_radius)
    still = _track(random, num_frames, radius=still_radius, has_box=False)
    return [still, moving] if in_front else [moving, still]


def _bounce(random: np.random.Generator, num_frames: int) -> list[Track]:
    height, drift = random.uniform(40, 64), random.uniform(-12, 12)
    bounce = random.uniform(0.6, 0.8)  # Speed after the floor over speed before.
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
    x = drift * (time / num_frames - 0.5)
    return [_track(random, num_frames, x, height / 2 - np.maximum(above_floor, 0))]


def _toss(random: np.random.Generator, num_frames: int) -> list[Track]:
    height, drift = random.uniform(40, 64), random.uniform(-12, 12)
    duration = random.uniform(0.6, 0.85)
    start = random.uniform(0, 1 - duration)
    flight = np.clip((np.linspace(0, 1, num_frames) - start) / duration, 0, 1)
    y = height / 2 - 4 * height * flight * (1 - flight)
    return [_track(random, num_frames, drift * (flight - 0.5), y)]


def _two(random: np.random.Generator, num_frames: int, *, apart: bool) -> list[Track]:
    progress = _progress(random, num_frames)
    radii = random.uniform(*RADII, size=2)
    gap = random.uniform(1, 6) + random.uniform(28, 38) * (progress if apart else 1 - progress)
    distance = radii.sum() + gap
    heading, share = random.uniform(0, 2 * np.pi), random.uniform(0.4, 0.6)
    cos, sin = np.cos(heading), np.sin(heading)
    return [
        _track(random, num_frames, part * distance * cos, part * distance * sin, radius=radius)
        for part, radius in zip((share, share - 1), radii, strict=True)
    ]


# Class name → function of (random stream, number of frames): tracks, the furthest object first.
MOTIONS: dict[str, Callable[[np.random.Generator, int], list[Track]]] = {
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
