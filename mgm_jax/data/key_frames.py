"""People in boxes at one frame of a video, the key frame, and what they do (AVA)."""

import dataclasses

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

FPS = 25.0
"""VideoMAE's code for AVA converts all films to this frame rate."""

NOT_EVALUATED = " (not evaluated)"
"""What the names of classes end in that AVA annotates and its evaluation leaves out."""


@dataclasses.dataclass(frozen=True)
class KeyFrame:
    """The boxes of a key frame: x1, y1, x2, y2 as fractions of the frame's width and height.

    Attributes:
        frame: Its number in the video.
        boxes: Annotated boxes.
        actions: 1 for each action of an annotated box.
        detected: Boxes that a detector has found; None if it was not asked.
        scores: How sure the detector is of each.
        seconds: The key frame's time in a whole film, where that is what is known of it.
        fps: Frames per second of the video.
    """

    frame: int
    boxes: Float32[np.ndarray, "k 4"]
    actions: UInt8[np.ndarray, "k classes"]
    detected: Float32[np.ndarray, "n 4"] | None = None
    scores: Float32[np.ndarray, " n"] | None = None
    seconds: float | None = None
    fps: float = FPS

    def with_detected(
        self, same: float
    ) -> tuple[Float32[np.ndarray, "m 4"], UInt8[np.ndarray, "m classes"]]:
        """The boxes to train on, and their actions: the annotated and the detected ones.

        A detected box with an overlap (intersection over union) of at least `same` with an
        annotated one has its actions. One that overlaps none by half, where the evaluation would
        call it wrong, has none. Those in between are left out (*decision*).
        """
        if self.detected is None or not len(self.detected):
            return self.boxes, self.actions
        overlaps = np.pad(iou(self.detected[:, None], self.boxes), ((0, 0), (0, 1)))
        nearest, largest = overlaps.argmax(axis=1), overlaps.max(axis=1)
        carried = np.pad(self.actions, ((0, 1), (0, 0)))[nearest] * (largest >= same)[:, None]
        kept = (largest >= same) | (largest < 0.5)
        boxes = np.concatenate([self.boxes, self.detected[kept]])
        return boxes, np.concatenate([self.actions, carried[kept]])


def iou(
    one: Float[np.ndarray, "*#shape 4"], other: Float[np.ndarray, "*#shape 4"]
) -> Float[np.ndarray, "*shape"]:
    """Intersection over union of boxes; 0 if neither has an area."""
    low, high = np.maximum(one, other)[..., :2], np.minimum(one, other)[..., 2:]
    shared = np.maximum(high - low, 0).prod(axis=-1)
    areas = [(b[..., 2:] - b[..., :2]).prod(axis=-1) for b in (one, other)]
    union = areas[0] + areas[1] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def frames_around(
    frame: int, num_frames: int, *, clip_frames: int, stride: int, fps: float = FPS
) -> Int[np.ndarray, " t"]:
    """The frames of a clip around a key frame; the first and the last of the video repeat.

    VideoMAE's for AVA: 16 frames at stride 4 are those from 31 before the key frame to 29 after it,
    of 25 per second. Of a video with another number `fps` they are the nearest in time, if its
    frames follow each other at this rate.
    """
    first = (stride - 1) // 2 - clip_frames * stride // 2
    places = frame + (first + stride * np.arange(clip_frames)) * fps / FPS
    return np.clip(np.rint(places).astype(np.int64), 0, num_frames - 1)


def jitter(
    rng: np.random.Generator,
    boxes: Float32[np.ndarray, "k 4"],
    reach: tuple[float, float, float, float],
) -> Float32[np.ndarray, "k 4"]:
    """Moves every edge of boxes at random, as VideoMAE's code for AVA does in training.

    `reach` is how far at most, as fractions of the box's width and height: left and right edges
    outwards, inwards, then upper and lower edges outwards, inwards.
    """
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    x_out, x_in, y_out, y_in = reach
    low = np.array([-x_out, -y_out, -x_in, -y_in])
    high = np.array([x_in, y_in, x_out, y_out])
    moves = rng.uniform(low, high, boxes.shape) * np.stack([width, height] * 2, axis=-1)
    return (boxes + moves).astype(np.float32)


def widen(
    boxes: Float32[np.ndarray, "k 4"], share: tuple[float, float]
) -> Float32[np.ndarray, "k 4"]:
    """Boxes wider and higher by a share of their width and height, as VideoMAE tests on AVA."""
    sides = (boxes[:, 2:] - boxes[:, :2]) * np.array(share) / 2
    return np.concatenate([boxes[:, :2] - sides, boxes[:, 2:] + sides], axis=1).astype(np.float32)
