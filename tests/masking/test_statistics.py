import numpy as np
import pytest

from mgm_jax.masking import statistics

SIZE, CELLS, GRID = 64, (8, 8), (4, 4, 4)
T = 8


def box_of(*boxes):
    """The same boxes in every frame."""
    return np.tile(np.array(boxes, np.float32), (T, 1, 1))


def inside_of(*boxes):
    return statistics.inside_boxes(box_of(*boxes), SIZE)


def test_motion_is_its_length_and_unknown_where_it_is_not_valid():
    motion = np.zeros((2, 1, 2, 2), np.float32)
    motion[:, 0, 1] = (3, -4)
    lengths = statistics.magnitude(motion, np.array([False, True]))
    assert np.isnan(lengths[0]).all()
    np.testing.assert_array_equal(lengths[1], [[0, 5]])


def test_pixels_in_several_boxes_count_once():
    boxes = box_of((0, 0, 10, 8), (5, 4, 20, 8), (np.nan,) * 4)
    inside = statistics.inside_boxes(boxes, SIZE)
    assert inside.sum() == T * (10 * 8 + 10 * 4)
    assert inside[0, 7, 19]
    assert not inside[0, 8].any()


def test_saliency_compares_the_mean_motion_inside_and_outside():
    lengths = np.full((T, *CELLS), 2.0)
    lengths[:, :4, :4] = 6.0
    corner = inside_of((0, 0, 32, 32))
    lengths[0] = np.nan  # A frame without motion.
    lengths[1], corner[1] = 99, False  # A frame without box.
    assert statistics.motion_inside_and_outside(lengths, corner) == (6, 2)
    assert np.isnan(statistics.motion_inside_and_outside(lengths, corner & False)).all()


def test_the_datasets_saliency_is_the_ratio_of_the_means():
    inside, outside = np.array([3.0, 1.0, np.nan, 7.0]), np.array([1.0, 0.0, 5.0, np.nan])
    assert statistics.saliency_score(inside, outside) == 4
    assert np.isnan(statistics.saliency_score(inside * 0, outside * 0))


def test_a_tokens_mask_hides_its_tubelet():
    mask = np.zeros((1, *GRID), bool)
    mask[0, 1, 2, 3] = True
    lengths = np.zeros((T, *CELLS))
    lengths[2:4, 4:6, 6:8] = 1
    lengths[0, 0, 0] = 8
    lengths[3, 0, 0] = lengths[7] = np.nan  # Unknown motion counts on neither side.
    masks = np.concatenate([mask, ~mask, mask | ~mask])
    np.testing.assert_array_equal(statistics.fraction_covered(lengths, masks), [0.5, 0.5, 1])
    assert np.isnan(statistics.fraction_covered(0 * lengths, mask)).all()
    assert statistics.fraction_covered(inside_of((48, 32, 64, 48)), mask) == 0.25


def test_continuity_is_the_overlap_of_consecutive_tubelets():
    mask = np.zeros((1, 3, 1, 4), bool)
    mask[0, 0, 0, :2] = mask[0, 1, 0, :2] = mask[0, 2, 0, 1:3] = True
    assert statistics.temporal_continuity(mask)[0] == pytest.approx((1 + 1 / 3) / 2)
    assert statistics.temporal_continuity(mask[:, :1].repeat(3, axis=1)) == 1


def test_the_standard_error_is_that_of_the_mean():
    # Of 1, 2 and 6, whose sample variance is 7.
    expected = pytest.approx((3, (7 / 3) ** 0.5))
    assert statistics.mean_and_error(np.array([1, np.nan, 2, 6])) == expected
    mean, error = statistics.mean_and_error(np.array([2.0, np.nan]))
    assert mean == 2.0
    assert np.isnan(error)
    assert np.isnan(statistics.mean_and_error(np.array([np.nan]))[0])
