import hashlib

import numpy as np
import pytest

from data_prep.demo_scenes import CLASS_NAMES, render_clip

LABELS = {name: label for label, name in enumerate(CLASS_NAMES)}
HEADINGS = {
    "moving something left": (-1, 0),
    "moving something right": (1, 0),
    "moving something up": (0, -1),
    "moving something down": (0, 1),
}


def clips_of(name, count=4, split="train"):
    """The first clips of a class."""
    step = len(CLASS_NAMES)
    return [render_clip(0, split, LABELS[name] + step * i) for i in range(count)]


def centres(clip):
    """Box centres [t, k, 2], with the camera's pan taken out."""
    pan = np.arange(len(clip.frames))[:, None, None] * clip.pan
    return (clip.boxes[..., :2] + clip.boxes[..., 2:]) / 2 - pan


def digest(clip):
    return hashlib.sha256(clip.frames.tobytes() + clip.boxes.tobytes()).hexdigest()


def still_part(clip, frames):
    """Where no acting object is, nor right beside, in any of the first frames."""
    still = np.ones(clip.frames.shape[1:3], bool)
    for x1, y1, x2, y2 in np.nan_to_num(clip.boxes[:frames].reshape(-1, 4)).astype(int):
        still[max(y1 - 4, 0) : y2 + 4, max(x1 - 4, 0) : x2 + 4] = False
    return still


def flow_gradient(clip, t):
    """Gradient [2, 2] (row: component, column: along x or y) of the first object's flow.

    From frame t to t + 1, by least squares on the constancy of brightness.
    """
    x1, y1, x2, y2 = clip.boxes[t, 0].astype(int)
    y, x = np.mgrid[y1:y2, x1:x2]
    offset_x, offset_y = x + 0.5 - (x1 + x2) / 2, y + 0.5 - (y1 + y2) / 2
    middle = (offset_x / (x2 - x1)) ** 2 + (offset_y / (y2 - y1)) ** 2 < 0.15
    y, x, offset_y, offset_x = (values[middle] for values in (y, x, offset_y, offset_x))
    first, second = clip.frames[t : t + 2].mean(-1)
    down, right = np.gradient((first + second) / 2)
    basis = np.stack([np.ones(len(x)), offset_x, offset_y], -1)
    system = np.concatenate([basis * right[y, x, None], basis * down[y, x, None]], -1)
    return np.linalg.lstsq(system, -(second - first)[y, x], rcond=None)[0].reshape(2, 3)[:, 1:]


def test_every_clip_has_the_shapes_and_boxes_of_its_class():
    assert len(set(CLASS_NAMES)) == len(CLASS_NAMES) >= 12
    for index in range(2 * len(CLASS_NAMES)):
        clip = render_clip(3, "train", index)
        assert clip.label == index % len(CLASS_NAMES)
        assert clip.frames.shape[1:] == (128, 128, 3)
        assert 40 <= len(clip.frames) <= 56
        objects = 2 if "two" in CLASS_NAMES[clip.label] else 1
        assert clip.boxes.shape == (len(clip.frames), objects, 4)
        seen = clip.boxes[~np.isnan(clip.boxes).any(-1)]
        assert (seen >= 0).all()
        assert (seen <= 128).all()
        assert (seen[:, 2:] > seen[:, :2]).all()
        assert np.abs(clip.pan).max() <= 0.4


def test_a_clip_depends_on_its_arguments_only():
    clip = digest(render_clip(7, "train", 40))
    others = {digest(render_clip(*of)) for of in ((8, "train", 41), (7, "train2", 40))}
    assert clip not in others
    assert digest(render_clip(7, "train", 40)) == clip


@pytest.mark.slow
def test_the_colours_tell_nothing_about_the_class():
    rows = 6
    clips = (render_clip(0, "train", index) for index in range(rows * len(CLASS_NAMES)))
    colours = np.array([clip.frames[0].mean((0, 1)) for clip in clips])
    colours = colours.reshape(rows, len(CLASS_NAMES), 3)
    between = colours.mean(0).var(0, ddof=1)
    within = colours.var(0, ddof=1).mean(0) / rows
    assert (between / within < 2.4).all()  # F(13, 70): exceeded once in a hundred


@pytest.mark.parametrize("name", HEADINGS)
def test_the_box_moves_where_the_class_says(name):
    for clip in clips_of(name):
        centre = centres(clip)[:, 0]
        travel = centre[-1] - centre[0]
        assert 38 <= np.linalg.norm(travel) <= 66
        # Within 20 degrees of the heading, and boxes are whole pixels.
        assert travel @ HEADINGS[name] > np.cos(np.deg2rad(23)) * np.linalg.norm(travel)
        steps = np.diff(centre @ HEADINGS[name])
        assert (steps >= -1).all()
        # In the picture too, where the camera moves along.
        assert (travel + len(clip.frames) * clip.pan) @ HEADINGS[name] > 0


@pytest.mark.parametrize(
    ("name", "sign"), [("moving something closer", 1), ("moving something away", -1)]
)
def test_things_that_come_closer_grow(name, sign):
    for clip in clips_of(name):
        sides = (clip.boxes[:, 0, 2:] - clip.boxes[:, 0, :2])[:: len(clip.frames) - 1]
        assert ((sides[1] / sides[0]) ** sign > 1.6).all()
        assert np.abs(centres(clip)[-1] - centres(clip)[0]).max() < 8


@pytest.mark.parametrize(
    ("name", "sign"),
    [("turning something clockwise", 1), ("turning something counter-clockwise", -1)],
)
def test_things_turn_the_way_the_class_says(name, sign):
    for clip in clips_of(name, 6):
        # The clip's middle, where everything moves.
        middle = range(len(clip.frames) // 4, 3 * len(clip.frames) // 4)
        gradients = [flow_gradient(clip, t) for t in middle]
        # y points down: what is to the right of the middle goes down when it turns clockwise.
        (_, x_by_y), (y_by_x, _) = np.mean(gradients, axis=0)
        assert sign * (y_by_x - x_by_y) > 0.02
        assert np.abs(centres(clip) - centres(clip)[0]).max() < 12


def test_what_passes_behind_is_hidden_and_what_passes_in_front_is_not():
    def least_seen(clip):
        hidden = np.isnan(clip.boxes[:, 0])
        assert (hidden.all(-1) == hidden.any(-1)).all()
        areas = np.prod(clip.boxes[:, 0, 2:] - clip.boxes[:, 0, :2], axis=-1)
        return np.nan_to_num(areas).min() / np.nanmax(areas)

    behind = [least_seen(clip) for clip in clips_of("passing something behind something", 9)]
    in_front = [least_seen(clip) for clip in clips_of("passing something in front of something", 9)]
    assert np.median(behind) < 0.5
    assert min(in_front) > 0.8


def test_what_is_dropped_bounces_and_what_is_tossed_falls_back():
    for clip in clips_of("dropping something that bounces"):
        height = -centres(clip)[:, 0, 1]
        floor = int(np.argmin(height[: len(height) // 2]))
        assert height[0] - height[floor] > 35
        assert height[floor:].max() - height[floor] > 10  # up again
        assert height[0] >= height[floor:].max()
    for clip in clips_of("tossing something up so that it falls back"):
        height = -centres(clip)[:, 0, 1]
        top = int(np.argmax(height))
        assert 0 < top < len(height) - 1
        assert height[top] - height[0] > 35
        np.testing.assert_allclose(height[0], height[-1], atol=1.5)


@pytest.mark.parametrize(
    ("name", "sign"), [("moving two things apart", 1), ("moving two things together", -1)]
)
def test_two_things_move_apart_or_together(name, sign):
    for clip in clips_of(name):
        first, second = centres(clip).transpose(1, 0, 2)
        distance = np.linalg.norm(first - second, axis=-1)
        assert sign * (distance[-1] - distance[0]) > 20
        for way in (first, second):  # both move
            assert np.linalg.norm(way[-1] - way[0]) > 8


def test_the_camera_pans_in_some_clips_and_the_background_goes_along():
    clips = [render_clip(1, "train", i) for i in range(2 * len(CLASS_NAMES))]
    panned = [clip for clip in clips if clip.pan.any()]
    assert 0 < len(panned) < len(clips)
    for clip in clips:
        change = clip.frames[9].astype(int) - clip.frames[0]
        moving = np.abs(change[still_part(clip, 10)]).max() > 0
        assert moving == clip.pan.any()
    for clip in panned[:4]:
        y, x = np.nonzero(still_part(clip, 26)[12:-12, 12:-12])
        first, later = clip.frames[0, y + 12, x + 12].astype(int), clip.frames[25]
        dx, dy = np.rint(25 * clip.pan).astype(int)
        along = np.abs(later[y + 12 + dy, x + 12 + dx] - first).mean()
        assert along < 0.6 * np.abs(later[y + 12, x + 12] - first).mean()
