"""Random erasing: the box, the noise in it, and who is erased."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mgm_jax.preprocessing import erasing

AREA, ASPECT = (0.02, 1 / 3), (0.3, 1 / 0.3)


def test_one_box_of_noise_through_all_frames_of_a_quarter_of_the_clips():
    keys, clips = jax.random.split(jax.random.key(0), 64), jnp.full((64, 4, 20, 28, 3), 9.0)
    erase = jax.jit(erasing.erase)
    np.testing.assert_array_equal(erasing.erase(keys, clips, probability=0.0), clips)
    assert (erasing.erase(keys, clips, probability=1.0) != 9.0).any((1, 2, 3, 4)).all()
    out = np.asarray(erase(keys, clips))
    # A clip depends on its key alone.
    np.testing.assert_array_equal(erase(keys[::-1], clips)[::-1], out)
    erased = out != 9.0
    boxes = erased[:, 0, :, :, 0]
    np.testing.assert_array_equal(erased, np.broadcast_to(boxes[:, None, :, :, None], out.shape))
    assert boxes.any((1, 2)).mean() == pytest.approx(0.25, abs=0.1)
    for box in boxes:
        rows, columns = np.flatnonzero(box.any(1)), np.flatnonzero(box.any(0))
        assert box.sum() == len(rows) * len(columns)
        if len(rows):
            assert np.ptp(rows) + 1 == len(rows)
            assert np.ptp(columns) + 1 == len(columns)
    noise = out[erased]
    assert noise.mean() == pytest.approx(0.0, abs=0.03)
    assert noise.std() == pytest.approx(1.0, abs=0.03)


def reference_boxes(height, width, number):
    """Sides as VideoMAE draws them."""
    r = np.random.default_rng(0)
    sides = []
    while len(sides) < number:
        area = r.uniform(*AREA) * height * width
        aspect = np.exp(r.uniform(*np.log(ASPECT)))
        rows, columns = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if rows < height and columns < width:
            sides.append((rows, columns))
    return np.array(sides)


def test_area_and_aspect_are_videomaes_by_default():
    given = inspect.signature(erasing.erase).parameters
    assert (given["area"].default, given["aspect"].default) == (AREA, ASPECT)


def test_boxes_are_as_large_and_as_long_as_videomaes():
    keys = jax.random.split(jax.random.key(1), 4000)
    draw = jax.jit(jax.vmap(lambda key: erasing.draw_box(key, 60, 40, AREA, ASPECT)))
    top, left, rows, columns = map(np.asarray, draw(keys))
    assert min(rows.min(), columns.min()) > 0
    assert rows.max() < 60
    assert columns.max() < 40
    assert top.min() == left.min() == 0
    assert (top + rows).max() == 60
    assert (left + columns).max() == 40
    expected = reference_boxes(60, 40, 4000)
    for got, wanted in ((rows, expected[:, 0]), (columns, expected[:, 1])):
        for share in (5, 25, 50, 75, 95):
            assert np.percentile(got, share) == pytest.approx(np.percentile(wanted, share), abs=1.1)
    assert np.mean(top / (60 - rows)) == pytest.approx(0.5, abs=0.03)
    assert np.mean(left / (40 - columns)) == pytest.approx(0.5, abs=0.03)


def test_no_box_where_none_fits():
    draw = jax.jit(lambda key: erasing.draw_box(key, 8, 8, (1.0, 1.0), (1.0, 1.0)))
    box = draw(jax.random.key(0))
    assert box[2] == box[3] == 0
