import dataclasses
import json

import numpy as np
import pytest
import shrunk
from one_video import OneVideo

from data_prep import transcode
from mgm_jax.data.key_frames import NOT_EVALUATED, KeyFrame
from mgm_jax.data.records import VideoRecord
from mgm_jax.errors import WriteError
from mgm_jax.evaluation import detections
from mgm_jax.evaluation.evaluator import Evaluator
from mgm_jax.training.detect_step import KEY_FRAME_FIELDS


class Eight(OneVideo):
    class_names = tuple("abcdefgh")


class FakeEvaluator(Evaluator):
    """Scores boxes by a function of what is read of them."""

    def __init__(self, score):
        self.score, self.errors = score, {}

    def batches(self, loader):
        self.loader = loader
        return self

    def outputs(self, variables, batches):
        one = self.loader.random_map((0, 0), np.random.default_rng(0))
        scores = self.score(one)[..., None].repeat(8, axis=-1)
        yield {name: one[name] for name in KEY_FRAME_FIELDS} | {"probabilities": scores}

    def check_read(self, missing, views, names):
        assert not missing.any()


@pytest.fixture(scope="module")
def source():
    video = np.zeros((70, 96, 160, 3), np.uint8)
    data = transcode.encode_h264(video, fps=25, profile=transcode.PROFILES["low_delay"])
    boxes = np.float32([[i / 10, 0, i / 10 + 0.1, 1] for i in range(8)])
    key = KeyFrame(31, boxes, np.eye(8, dtype=np.uint8))
    return Eight(VideoRecord(data, "film_0001", -1, key=key))


def detect(source, score, **changes):
    config = shrunk.recipe("demo_detect", "unused", **changes)
    config.data.update(max_boxes=8, size=64, host_crop_size=96)
    config.eval.update(spatial_views=3)
    found = detections.detect(FakeEvaluator(score), config, {}, source)
    assert found.unread == []
    return found


def first_scores(source, score, **changes):
    return detect(source, score, **changes).scores[0][:, 0]


def test_a_box_has_the_score_of_the_view_that_shows_most_of_it(source):
    shown = first_scores(source, lambda one: one["box_seen"])
    np.testing.assert_allclose(shown, 1.0, atol=1e-5)


def test_a_box_that_several_views_show_whole_has_their_mean(source):
    def views(one):
        return np.arange(3.0)[:, None] * np.ones(one["box_seen"].shape)

    # The views begin at pixel 0, 32 and 64 and are 96 wide; the boxes follow each other by 16.
    expected = [0, 0, 0.5, 0.5, 1, 1, 1.5, 1.5]
    np.testing.assert_allclose(first_scores(source, views), expected, atol=1e-5)


def test_boxes_are_widened_for_the_model(source):
    def width(one):
        return (one["boxes"][..., 2] - one["boxes"][..., 0]) / 64

    widths = first_scores(source, width, eval__box_margin=(0.5, 0.0))
    np.testing.assert_allclose(widths[3], 1.5 * 16 / 96, atol=1e-4)


def test_nothing_of_an_earlier_evaluation_stays(source, tmp_path):
    found = detect(source, lambda one: one["box_seen"])
    detections.write_detections(found, source, tmp_path, step=1, settings={})
    assert (tmp_path / "boxes.png").exists()
    none = dataclasses.replace(found, boxes=[found.boxes[0][:0]], scores=[found.scores[0][:0]])
    detections.write_detections(none, source, tmp_path, step=2, settings={})
    numbers = json.loads((tmp_path / "evaluation.json").read_text())
    assert (numbers["step"], numbers["num_boxes"]) == (2, 0)
    assert not (tmp_path / "boxes.png").exists()
    (tmp_path / "detections.csv").unlink()
    (tmp_path / "detections.csv").mkdir()
    with pytest.raises(WriteError):
        detections.write_detections(found, source, tmp_path, step=3, settings={})
    assert not (tmp_path / "evaluation.json").exists()


def test_all_rows_have_the_actions_that_are_not_evaluated_too(source):
    found = detect(source, lambda one: one["box_seen"])
    names = (f"a{NOT_EVALUATED}", *found.class_names[1:])
    found = dataclasses.replace(found, class_names=names)
    assert set(found.rows.actions) == set(range(1, 8))
    assert set(found.all_rows.actions) == set(range(8))
