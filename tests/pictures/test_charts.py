import warnings

import numpy as np
import pytest

from mgm_jax.pictures import charts, figures


@pytest.mark.parametrize("classes", [2, 70])
def test_the_confusion_matrix_shows_the_shares_of_each_true_class(classes):
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 3, (classes, classes)) + 5 * np.eye(classes, dtype=int)
    counts[1] = 0
    names = [f"class {number} $_{{ 日本" for number in range(classes)]
    figure = charts.confusion(counts, names)
    errors, correct = (image.get_array() for image in figure.axes[0].images)
    expected = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    diagonal = np.eye(classes, dtype=bool)
    diagonal[1] = False
    np.testing.assert_array_equal(correct.mask, ~diagonal)
    np.testing.assert_allclose(correct[diagonal], expected[diagonal])
    others = ~np.eye(classes, dtype=bool)
    others[1] = False  # No videos: neither is drawn.
    np.testing.assert_array_equal(errors.mask, ~others)
    np.testing.assert_allclose(errors[others], expected[others])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = figures.render(figure)
    assert max(picture.shape) < 1600
    assert (picture[:2] == 255).all()


def test_of_many_classes_those_with_the_most_errors_are_shown_with_their_names():
    counts = 20 * np.eye(400, dtype=int)
    wrong = np.arange(0, 400, 10)
    counts[wrong, wrong] = 10
    counts[wrong, (wrong + 10) % 400] = 6
    counts[wrong, wrong + 1] = 4
    figure = charts.confusion(counts, [f"class {number}" for number in range(400)])
    axes = figure.axes[0]
    rows = [label.get_text() for label in axes.get_yticklabels()]
    columns = [label.get_text() for label in axes.get_xticklabels()]
    assert rows == [f"class {number}" for number in wrong]
    assert columns == [*rows, "another class"]
    errors, correct = (image.get_array() for image in axes.images)
    np.testing.assert_allclose(errors[:, -1], 20)
    np.testing.assert_allclose(errors[0, 1], 30)
    np.testing.assert_allclose(correct.compressed(), 50)


def test_classes_are_named_and_cells_have_numbers_where_there_is_room():
    figure = charts.confusion(np.array([[3, 1], [0, 0]]), ["left", "a " * 40])
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[0] == "left"
    assert "…" in labels[1]
    assert {text.get_text() for text in figure.axes[0].texts} == {"75", "25"}


def test_curves_have_their_points_and_their_last_value_in_the_legend():
    loss = [(1, 2.0), (50, float("nan")), (100, 0.5)]
    accuracy = {"train": [(100, 0.25)], "eval": [(100, 0.5)]}
    figure = charts.curves({"Loss": {"train": loss}, "Top-1": accuracy}, percent=["Top-1"])
    left, right = figure.axes
    np.testing.assert_array_equal(left.lines[0].get_xydata(), loss)
    np.testing.assert_array_equal(right.lines[1].get_xydata(), [(100, 50)])
    texts = [text.get_text() for axes in (left, right) for text in axes.get_legend().get_texts()]
    assert texts == ["train: 0.5", "train: 25 %", "eval: 50 %"]
    assert figures.render(figure).std() > 10
