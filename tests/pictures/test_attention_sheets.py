import numpy as np
import picture_arrays
import pytest

from mgm_jax.pictures import attention_sheets, layout

GRID = picture_arrays.GRID


def arguments(attention, query):
    clip = picture_arrays.make_clip()
    names = ("frames", "motion", "motion_valid", "clip_id")
    shown = {name: clip[name] for name in names}
    return {**shown, "attention": attention, "query": query, "subtitle": "of block -1"}


def uniform():
    return np.full(GRID, 1 / np.prod(GRID), np.float32)


def test_colours_are_bright_where_the_attention_is_whatever_the_frames():
    attention = np.zeros(GRID, np.float32)
    attention[1, 2, 3] = 1.0
    for shade in (0, 255):
        frames = np.full((8, 32, 48, 3), shade, np.uint8)
        lit = attention_sheets.attention_overlay(frames, attention).mean(axis=-1)
        brightest = np.unravel_index(lit[2].argmax(), lit[2].shape)
        assert (brightest[0] // 8, brightest[1] // 8) == (2, 3)
        np.testing.assert_array_equal(lit[2], lit[3])
        others = lit[[0, 1, 4, 5, 6, 7]]
        assert others.max() - others.min() < 1
        assert lit[2].max() > others.max() + 50


def test_even_attention_keeps_the_frames_contrasts():
    grey = np.random.default_rng(0).integers(0, 256, (8, 32, 48, 1), np.uint8)
    lit = attention_sheets.attention_overlay(grey.repeat(3, axis=-1), uniform())
    assert np.corrcoef(lit[..., 0].ravel(), grey.ravel())[0, 1] > 0.99


def test_the_query_is_outlined_in_its_step_alone():
    sheet = attention_sheets.attention_sheet(**arguments(uniform(), (2, 1, 4)))
    rows, columns = np.nonzero((sheet == attention_sheets.QUERY).all(axis=-1))
    tile, _ = layout.tile_size((32, 48), GRID[1:], GRID[0])
    assert len(rows) > 4 * (tile // 4)
    assert np.ptp(rows) + 1 == np.ptp(columns) + 1 == tile // 4
    animation = attention_sheets.attention_animation(**arguments(uniform(), (2, 1, 4)))
    outlined = (animation == attention_sheets.QUERY).all(axis=-1).any(axis=(1, 2))
    np.testing.assert_array_equal(outlined, [False] * 4 + [True] * 2 + [False] * 2)


def test_maps_of_another_grid_are_refused():
    with pytest.raises(ValueError, match=r"grid of \(4, 5, 6\), which does not divide"):
        attention_sheets.attention_sheet(**arguments(np.ones((4, 5, 6), np.float32), (0, 0, 0)))
