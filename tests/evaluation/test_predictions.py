import numpy as np
import pytest

from mgm_jax.evaluation.predictions import Predictions, most_confused, wilson_interval


def make(probabilities, labels, num_views=None, classes=None):
    probabilities = np.asarray(probabilities, np.float32)
    videos, count = probabilities.shape
    return Predictions(
        probabilities=probabilities,
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
    assert FIVE.summary() == {
        "top1": pytest.approx(2 / 3),
        "mean_per_class": 0.75,
        "num_videos": 5,
        "num_counted": 3,
        "unread": ["folder/video 3.mp4"],
        "unlabelled": ["folder/video 4.mp4"],
        "not_finite": [],
        "per_class": [
            {"name": "run", "num_videos": 2, "num_right": 1, "accuracy": 0.5},
            {"name": 'say "hello", wave', "num_videos": 1, "num_right": 1, "accuracy": 1.0},
            {"name": "sit", "num_videos": 0, "num_right": 0, "accuracy": None},
        ],
    }
    np.testing.assert_array_equal(FIVE.confusion(), [[1, 1, 0], [0, 1, 0], [0, 0, 0]])
    assert [FIVE.accuracy(k) for k in (1, 2, 3)] == pytest.approx([2 / 3, 1, 1])
    assert make([[1 / 3] * 3] * 2, [0, 1]).accuracy(1) == 0  # Constant output is never right.


@pytest.mark.parametrize("fault", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("classes", [3, 7])
def test_probabilities_that_are_not_finite_are_wrong_and_named(fault, classes):
    probabilities = np.full((4, classes), 0.1)
    probabilities[0, 0], probabilities[3, 1] = 0.5, 0.5
    probabilities[1], probabilities[2, 2] = fault, fault
    predictions = make(probabilities, labels=[0, 0, 2, 0])
    assert predictions.accuracy(1) == 1 / 4
    assert predictions.accuracy(5) <= 1 / 2
    numbers = predictions.summary()
    assert (numbers["top1"], numbers["mean_per_class"]) == (1 / 4, 1 / 6)
    assert numbers.get("top5", 1 / 4) <= 1 / 2
    assert numbers["not_finite"] == ["folder/video 1.mp4", "folder/video 2.mp4"]
    assert (predictions.confusion().sum(), np.trace(predictions.confusion())) == (2, 1)


def test_without_counted_videos_there_is_no_accuracy():
    unread = make(np.zeros((2, 6)), [0, 1], num_views=[0, 0])
    numbers = unread.summary()
    assert (numbers["top1"], numbers["top5"], numbers["mean_per_class"]) == (None, None, None)
    assert numbers["num_counted"] == 0
    assert np.isnan(unread.accuracy())


def test_the_most_frequent_confusions_come_first():
    found = most_confused(np.array([[5, 2, 0], [1, 3, 2], [0, 0, 0]]), limit=2)
    assert found == [(1, 2, 2, 1 / 3), (0, 1, 2, 2 / 7)]


def test_the_interval_of_an_accuracy_is_wilsons():
    # Of 4 of 5, by solving |p - 0.8| = 1.96 sqrt(p (1 - p) / 5).
    low, high = wilson_interval(4, 5)
    for bound in (low, high):
        assert abs(bound - 0.8) == pytest.approx(1.96 * (bound * (1 - bound) / 5) ** 0.5)
    assert low < 0.8 < high < 1
    assert wilson_interval(0, 5)[0] == pytest.approx(0)


def test_top_five_is_not_top_one():
    found = make(np.tile(np.arange(7, 0, -1) / 28, (4, 1)), labels=[0, 1, 4, 5])
    assert (found.summary()["top1"], found.summary()["top5"]) == (0.25, 0.75)
