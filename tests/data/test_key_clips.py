import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import rendered
import shrunk
from one_video import OneVideo

from data_prep import transcode
from mgm_jax.data import key_frames
from mgm_jax.data.clip_reader import ReadSpec
from mgm_jax.data.clips import error_message
from mgm_jax.data.key_clips import LoadKeyFrames, LoadKeyFrameViews, blank_boxes, key_frame_of
from mgm_jax.data.key_frames import KeyFrame
from mgm_jax.data.records import RecordSource, VideoRecord
from mgm_jax.errors import VideoError
from mgm_jax.preprocessing import rgb

HEIGHT, WIDTH, FRAMES, KEY = 96, 160, 60, 31
SPEC = ReadSpec(clip_frames=16, stride=4, size=64, host_crop_size=96, motion="none")
TOP_LEFT = np.array([[30, 40, 94, 76]], np.float32)  # x1, y1, x2, y2 of the bright square.


class Named(OneVideo):
    class_names = ("stand", "sit", "walk")


@pytest.fixture(scope="module")
def marked():
    """A bright square in the key frame alone; every other frame is dark."""
    video = np.full((FRAMES, HEIGHT, WIDTH, 3), 16, np.uint8)
    x1, y1, x2, y2 = TOP_LEFT[0].astype(int)
    video[KEY, y1:y2, x1:x2] = 235
    return transcode.encode_h264(video, fps=25, profile=transcode.PROFILES["low_delay"])


def record(video, boxes=TOP_LEFT / (WIDTH, HEIGHT, WIDTH, HEIGHT), **fields):
    actions = np.eye(3, dtype=np.uint8)[np.arange(len(boxes)) % 3]
    key = KeyFrame(KEY, np.float32(boxes), actions, **fields)
    return VideoRecord(video, "film_0902", -1, key=key)


def in_view(batch, copy):
    names = ("luma", "chroma", "crop_box", "flip", "yuv_to_rgb")
    one = {name: jnp.asarray(batch[name][copy : copy + 1]) for name in names}
    return np.asarray(rgb.batch_to_rgb(one, size=SPEC.size))[0].mean(axis=-1)


@pytest.mark.parametrize("seed", range(6))
def test_boxes_lie_where_the_pixels_do(marked, seed):
    # Stride 1, so that the key frame itself is among the clip's frames.
    spec = dataclasses.replace(SPEC, stride=1)
    load = LoadKeyFrames(
        Named(record(marked)),
        spec,
        crop="random_square",
        scales=(0.6, 0.9),
        flip=True,
        copies=4,
        max_boxes=2,
    )
    batch = load.random_map((0, 0), np.random.default_rng(seed))
    assert batch["valid"].all()
    for copy in range(4):
        (place,) = np.flatnonzero(batch["frames"][copy] == KEY)
        bright = in_view(batch, copy)[place] > 0.5
        rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
        if not batch["box_valid"][copy, 0]:
            assert not len(rows)
            continue
        shown = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        np.testing.assert_allclose(batch["boxes"][copy, 0], shown, atol=1.01)
        scale = spec.size**2 / np.prod(batch["source_box"][copy, 2:])
        share = bright.sum() / (64 * 36 * scale)
        np.testing.assert_allclose(batch["box_seen"][copy, 0], share, atol=0.06)
    assert not batch["box_valid"][:, 1].any()
    np.testing.assert_array_equal(batch["actions"][:, 0], [[1, 0, 0]] * 4)
    np.testing.assert_array_equal(batch["num_boxes"], 1)


def test_the_clip_lies_around_the_key_frame_as_in_videomae(marked):
    load = LoadKeyFrameViews(Named(record(marked)), SPEC, copies=3, max_boxes=1)
    batch = load.random_map((0, 0), np.random.default_rng(0))
    assert batch["frames"][0].tolist() == [max(0, min(i, 59)) for i in range(0, 64, 4)]
    around = key_frames.frames_around(100, 1000, clip_frames=16, stride=4)
    assert around.tolist() == list(range(69, 130, 4))
    around = key_frames.frames_around(100, 1000, clip_frames=16, stride=4, fps=50.0)
    assert around.tolist() == list(range(38, 159, 8))
    slow = Named(record(marked, fps=12.5))
    slowed = LoadKeyFrameViews(slow, SPEC, max_boxes=1).random_map((0, 0), np.random.default_rng(0))
    assert slowed["frames"][0].tolist() == np.rint(31 + np.arange(-31, 30, 4) / 2).tolist()
    # The three views are squares from the left to the right; the middle one shows the whole box.
    assert batch["source_box"][:, 1].tolist() == [0, 32, 64]
    np.testing.assert_allclose(batch["box_seen"][:, 0], [1, 62 / 64, 30 / 64], atol=1e-5)


def test_more_boxes_than_the_limit_are_a_random_choice_in_training(marked):
    boxes = [[i / 10, 0, i / 10 + 0.1, 1] for i in range(8)]
    load = LoadKeyFrames(Named(record(marked, boxes)), SPEC, crop="centre", max_boxes=5)
    chosen = [
        load.random_map((0, 0), np.random.default_rng(seed))["key_boxes"][0] for seed in range(8)
    ]
    assert len({tuple(one[:, 0].round(2)) for one in chosen}) > 4
    fields = load.random_map((0, 0), np.random.default_rng(0))
    assert (fields["num_boxes"][0], fields["num_truth"][0]) == (8, 8)


def test_detected_boxes_are_evaluated_and_annotated_ones_are_kept(marked):
    found = np.float32([[0.1, 0.1, 0.4, 0.9], [0.5, 0.5, 1, 1]])
    one = record(marked, detected=found, scores=np.float32([0.9, 0.8]))
    load = LoadKeyFrameViews(Named(one), SPEC, max_boxes=3, margin=(0.2, 0.1))
    batch = load.random_map((0, 0), np.random.default_rng(0))
    np.testing.assert_array_equal(batch["key_boxes"][0, :2], found)
    np.testing.assert_allclose(batch["scores"][0], [0.9, 0.8, 0])
    np.testing.assert_array_equal(batch["truth_actions"][0, 0], [1, 0, 0])
    assert not batch["actions"].any()
    # The clip is the middle square of 96 of 160 pixels, at 2/3; the box is widened by a fifth.
    np.testing.assert_allclose(
        batch["boxes"][0, 0], [0, 0.06 * 64, (0.43 * 160 - 32) * 2 / 3, 0.94 * 64], atol=1e-3
    )
    np.testing.assert_allclose(batch["box_seen"][0, 0], 36.8 / (0.36 * 160), atol=1e-4)


def test_boxes_of_all_frames_stand_for_a_key_frame():
    boxes = np.full((5, 2, 4), np.nan, np.float32)
    boxes[3, 1], boxes[4] = (10, 20, 30, 40), (0, 0, 1, 1)
    key = key_frame_of(VideoRecord("a.avi", "a", 2, boxes), 3, (80, 100), 5)
    assert key.frame == 3
    np.testing.assert_allclose(key.boxes, [[0.1, 0.25, 0.3, 0.5]])
    np.testing.assert_array_equal(key.actions, [[0, 0, 1]])
    for one in (
        VideoRecord("a.avi", "a", 2),
        VideoRecord("a.avi", "a", -1, boxes),
        VideoRecord("a.avi", "a", 2, np.full((5, 1, 4), np.nan, np.float32)),
        VideoRecord("a.avi", "a", -1, key=dataclasses.replace(key, frame=5)),
    ):
        with pytest.raises(VideoError, match=r"^a: "):
            key_frame_of(one, 3, (80, 100), 5)


def test_an_unreadable_video_gives_zeros_of_the_same_shapes(marked):
    loads = [
        LoadKeyFrames(Named(one), SPEC, copies=2, crop="centre", max_boxes=3)
        for one in (record(marked), record(b"no video"))
    ]
    good, bad = (load.random_map((0, 0), np.random.default_rng(0)) for load in loads)
    assert {n: (a.shape, a.dtype) for n, a in good.items()} == {
        n: (a.shape, a.dtype) for n, a in bad.items()
    }
    assert "a.mp4" in error_message(bad["error"][0])
    assert not any(bad[name].any() for name in blank_boxes(1, 1, 1))


def test_jitter_and_margin_stay_within_their_reach():
    boxes = np.tile(np.float32([[0.2, 0.4, 0.6, 0.5]]), (4000, 1))
    moved = key_frames.jitter(np.random.default_rng(0), boxes, (0.2, 0.1, 0.1, 0.05)) - boxes
    expected = [[-0.08, -0.01, -0.04, -0.005], [0.04, 0.005, 0.08, 0.01]]
    np.testing.assert_allclose([moved.min(axis=0), moved.max(axis=0)], expected, atol=1e-3)
    wide = key_frames.widen(boxes[:1], (0.1, 0.05))
    np.testing.assert_allclose(wide, [[0.18, 0.3975, 0.62, 0.5025]], atol=1e-6)


def test_detected_boxes_carry_the_actions_of_the_annotated_ones():
    boxes, actions = np.float32([[0, 0, 0.5, 1], [0.5, 0, 1, 1]]), np.uint8([[1, 0], [0, 1]])
    near, between, far = [0.5, 0, 0.97, 1], [0.5, 0, 0.85, 1], [0.25, 0, 0.75, 1]
    key = KeyFrame(0, boxes, actions, np.float32([near, between, far]), np.ones(3, np.float32))
    found, carried = key.with_detected(0.9)
    np.testing.assert_allclose(found, np.float32([*boxes, near, far]))
    assert carried.tolist() == [[1, 0], [0, 1], [0, 1], [0, 0]]
    alone = dataclasses.replace(key, detected=None)
    assert alone.with_detected(0.9) == (alone.boxes, alone.actions)
    empty = KeyFrame(0, boxes[:0], actions[:0], np.float32([far]), np.ones(1, np.float32))
    assert empty.with_detected(0.9)[1].tolist() == [[0, 0]]


def test_overlap_by_hand():
    one = np.array([[0, 0, 2, 2], [0, 0, 1, 1], [0, 0, 0, 0]], float)
    np.testing.assert_allclose(
        key_frames.iou(one[:, None], np.array([[1, 1, 3, 3], [0, 0, 0, 0]], float)),
        [[1 / 7, 0], [0, 0], [0, 0]],
    )


def test_key_frames_of_records_are_read_back(tmp_path):
    facts = {"fps": 25.0, "num_frames": 3, "height": 64, "width": 80, "encoder": "", "profile": ""}
    facts |= {"boxes": np.zeros((0, 4), np.float32), "label": -1, "video": b"film"}
    rows = [
        facts
        | {"video_id": f"a_{n:04d}", "key_frame": 2, "key_seconds": 1.5}
        | {"key_boxes": np.full((n, 4), 0.5, np.float32)}
        | {"key_actions": np.eye(3, dtype=np.uint8)[:n], "key_person_ids": np.arange(n)}
        for n in (2, 0)
    ]
    classes = ("stand", "sit", "walk")
    rendered.write_records(tmp_path / "out", classes, {"train": rows}, key_frames=True)
    source = RecordSource(str(tmp_path / "out"), "train")
    assert source[0].key.frame == 2
    assert source[0].key.actions.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert source[1].key.boxes.shape == (0, 4)
    assert source[1].key.actions.shape == (0, 3)
    rendered.write_record_folder(tmp_path / "plain", {"a": b"film"})
    assert RecordSource(str(tmp_path / "plain"), "train")[0].key is None


class Eight(OneVideo):
    class_names = tuple("abcdefgh")


def test_boxes_keep_their_actions_and_only_those_shown_move(marked):
    boxes = np.float32([[i / 10, 0, i / 10 + 0.1, 1] for i in range(8)])
    key = KeyFrame(KEY, boxes, np.eye(8, dtype=np.uint8))
    source = Eight(VideoRecord(marked, "film_0902", -1, key=key))
    plain, moved = (
        LoadKeyFrames(source, SPEC, crop="centre", max_boxes=8, jitter=jitter).random_map(
            (0, 0), np.random.default_rng(1)
        )
        for jitter in ((0.0,) * 4, (0.2, 0.1, 0.1, 0.05))
    )
    order = np.rint(10 * moved["key_boxes"][0, :, 0]).astype(int)
    assert sorted(order) == list(range(8)) != order.tolist()
    np.testing.assert_array_equal(moved["actions"][0].argmax(-1), order)
    np.testing.assert_array_equal(plain["key_boxes"], moved["key_boxes"])
    whole = plain["box_seen"][0] == 1
    assert (plain["boxes"][0, whole] != moved["boxes"][0, whole]).any(axis=-1).all()


def test_a_film_is_read_as_far_as_the_clip_reaches(marked, tmp_path):
    (tmp_path / "film.mp4").write_bytes(marked)
    own = record(str(tmp_path / "film.mp4"), seconds=30 / 25)
    load = LoadKeyFrameViews(Named(own), dataclasses.replace(SPEC, clip_frames=8), max_boxes=1)
    clip = load.random_map((0, 0), np.random.default_rng(0))
    assert clip["valid"].all()
    assert set(np.diff(clip["frames"][0]).tolist()) == {4}


def test_a_loader_has_the_values_of_the_config(marked):
    data = shrunk.recipe("ava_finetune", "unused").data
    data.update(same_overlap=0.7, box_jitter=(0.1, 0.2, 0.3, 0.4), max_boxes=9)
    loader = LoadKeyFrames.from_config(data, Named(record(marked)))
    assert (loader.same, loader.jitter, loader.max_boxes) == (0.7, (0.1, 0.2, 0.3, 0.4), 9)
