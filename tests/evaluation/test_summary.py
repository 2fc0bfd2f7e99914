import csv
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgm_jax.errors import CheckpointError
from mgm_jax.evaluation import summary
from mgm_jax.evaluation.evaluator import Predictions


def make(probabilities, labels, num_views=None, classes=None):
    probabilities = np.asarray(probabilities, np.float32)
    videos, count = probabilities.shape
    return Predictions(
        probabilities=probabilities[None],
        labels=np.asarray(labels),
        num_views=np.full(videos, 2) if num_views is None else np.asarray(num_views),
        names=tuple(f"folder/video {video}.mp4" for video in range(videos)),
        class_names=tuple(classes or (f"class {number}" for number in range(count))),
    )


# Two videos of class 0, one of them taken for class 1; one of class 1; one unread; one unlabelled.
FIVE = make(
    [[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.0, 0.0, 0.0], [0.2, 0.2, 0.6]],
    labels=[0, 0, 1, -1, -1],
    num_views=[2, 2, 1, 0, 2],
    classes=("run", 'say "hello", wave', "sit"),
)


def test_numbers_by_hand():
    assert summary.summary(FIVE) == {
        "top1": pytest.approx(2 / 3),
        "mean_per_class": 0.75,
        "num_videos": 5,
        "num_counted": 3,
        "unread": ["folder/video 3.mp4"],
        "unlabelled": ["folder/video 4.mp4"],
        "per_class": [
            {"name": "run", "num_videos": 2, "num_right": 1, "accuracy": 0.5},
            {"name": 'say "hello", wave', "num_videos": 1, "num_right": 1, "accuracy": 1.0},
            {"name": "sit", "num_videos": 0, "num_right": 0, "accuracy": None},
        ],
    }
    np.testing.assert_array_equal(summary.confusion(FIVE), [[1, 1, 0], [0, 1, 0], [0, 0, 0]])


def test_without_a_video_that_counts_there_is_no_accuracy():
    numbers = summary.summary(make(np.zeros((2, 6)), [0, 1], num_views=[0, 0]))
    assert (numbers["top1"], numbers["top5"], numbers["mean_per_class"]) == (None, None, None)
    assert numbers["num_counted"] == 0


@given(st.integers(2, 9), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_all_numbers_agree(classes, videos, seed):
    rng = np.random.default_rng(seed)
    predictions = make(
        rng.dirichlet(np.ones(classes), videos),
        rng.integers(0, classes, videos),
        num_views=rng.integers(0, 3, videos),
    )
    numbers, counts = summary.summary(predictions), summary.confusion(predictions)
    assert numbers["num_counted"] == counts.sum() == predictions.read.sum()
    assert ("top5" in numbers) == (classes > 5)
    if not counts.sum():
        return
    assert numbers["top1"] == pytest.approx(np.trace(counts) / counts.sum())
    assert numbers["top1"] == pytest.approx(float(predictions.accuracy(1)[0]))
    if classes > 5:
        assert numbers["top5"] == pytest.approx(float(predictions.accuracy(5)[0]))
    for one, row, right in zip(
        numbers["per_class"], counts.sum(axis=1), np.diag(counts), strict=True
    ):
        assert (one["num_videos"], one["num_right"]) == (row, right)
    confused = summary.most_confused(counts, limit=classes**2)
    assert sum(one.count for one in confused) == counts.sum() - np.trace(counts)
    assert [one.count for one in confused] == sorted((one.count for one in confused), reverse=True)


def test_the_commonest_confusions_come_first():
    counts = np.array([[5, 2, 0], [1, 3, 2], [0, 0, 0]])
    found = summary.most_confused(counts, limit=2)
    assert [(one.true, one.predicted, one.count) for one in found] == [(1, 2, 2), (0, 1, 2)]
    assert found[0].share == pytest.approx(1 / 3)


def test_files_hold_every_video_and_are_read_again(tmp_path):
    files = summary.write_results(FIVE, tmp_path / "run", step=7, settings={"temporal_views": 5})
    assert sorted(tmp_path.glob("run/*")) == sorted(files)
    numbers = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert numbers == {"step": 7, "temporal_views": 5, **summary.summary(FIVE)}
    with (tmp_path / "run" / "predictions.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["outcome"] for row in rows] == ["right", "wrong", "right", "unread", "unlabelled"]
    assert rows[1] == {
        "video": "folder/video 1.mp4",
        "outcome": "wrong",
        "true_class": "run",
        "predicted_class": 'say "hello", wave',
        "true_probability": "0.300000",
        "predicted_probability": "0.600000",
        "true_rank": "2",
        "views": "2",
    }
    assert (rows[3]["predicted_class"], rows[3]["views"]) == ("", "0")
    assert (rows[4]["predicted_class"], rows[4]["true_class"]) == ("sit", "")
    predictions, step, settings = summary.read_results(tmp_path / "run")
    assert (step, settings) == (7, {"temporal_views": 5})
    assert (predictions.names, predictions.class_names) == (FIVE.names, FIVE.class_names)
    for name in ("probabilities", "labels", "num_views"):
        np.testing.assert_array_equal(getattr(predictions, name), getattr(FIVE, name))


def test_a_missing_or_damaged_evaluation_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"no evaluation in .*evaluation\.json"):
        summary.read_results(tmp_path)
    summary.write_results(FIVE, tmp_path, step=1, settings={})
    (tmp_path / "predictions.npz").write_bytes(b"PK cut short")
    with pytest.raises(CheckpointError, match="damaged"):
        summary.read_results(tmp_path)


def test_one_head_is_asked_for():
    two = Predictions(
        np.full((2, 1, 3), 1 / 3, np.float32), np.array([0]), np.array([1]), ("a",), ("x", "y", "z")
    )
    with pytest.raises(ValueError, match=r"2 heads; choose one with predictions\.head"):
        summary.summary(two)
    assert summary.summary(two.head(1))["num_counted"] == 1
