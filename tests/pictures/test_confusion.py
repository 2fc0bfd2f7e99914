import numpy as np
import pytest

from mgm_jax.pictures.confusion import confusion_picture


def has_colour(picture, colour):
    return (picture == colour).all(axis=-1).any()


@pytest.mark.parametrize("classes", [2, 21, 70, 101, 400])
def test_every_number_of_classes_makes_a_picture_of_bounded_size(classes):
    counts = np.eye(classes, dtype=int)
    picture = confusion_picture(counts, [f"class {number}" for number in range(classes)])
    assert classes < picture.shape[0] < 1500
    assert classes < picture.shape[1] < 1500
    blue = (picture == (23, 84, 160)).all(axis=-1)
    assert blue.sum() >= classes * 4
    rows, columns = np.nonzero(blue)
    # Top left to bottom right, and nowhere else but in the legend, which is above.
    below = rows > rows.max() - (columns.max() - columns.min())
    offset = (rows - columns)[below]
    assert np.abs(offset - np.median(offset)).max() <= 46


def test_errors_are_orange_and_rows_without_videos_grey():
    names = ["a", "b", "c"]
    right = confusion_picture(np.array([[4, 0, 0], [0, 4, 0], [0, 0, 4]]), names)
    wrong = confusion_picture(np.array([[0, 4, 0], [0, 4, 0], [0, 0, 0]]), names)
    below_legend = slice(100, None)
    assert has_colour(right[below_legend], (23, 84, 160))
    assert not has_colour(right[below_legend], (196, 66, 20))
    assert has_colour(wrong[below_legend], (196, 66, 20))
    assert has_colour(wrong[below_legend], (240, 240, 242))
    assert not has_colour(right, (240, 240, 242))


def test_a_share_does_not_depend_on_how_many_videos_a_class_has():
    few = confusion_picture(np.array([[1, 1], [0, 2]]), ["a", "b"])
    many = confusion_picture(np.array([[50, 50], [0, 3]]), ["a", "b"])
    np.testing.assert_array_equal(few, many)


def test_names_are_shown_where_they_fit():
    counts = np.eye(10, dtype=int)
    shown = confusion_picture(counts, [f"name {number}" for number in range(10)])
    assert (shown != confusion_picture(counts, [f"other {number}" for number in range(10)])).any()
    long = confusion_picture(counts, ["n" * 90] * 10)
    assert long.shape == shown.shape
