import numpy as np
from picture_arrays import GRID, TILE, H, T, W, make_clip, make_mask

from mgm_jax.pictures import overlays, sheets

CLIP = make_clip()


def by_name(rows):
    return {row.label.partition("\n")[0]: row for row in rows}


def test_reconstructions_show_the_input_where_it_is_visible():
    mask, made = make_mask(), np.full((GRID[0], H, W, 3), 255, np.uint8)
    rows = by_name(sheets.reconstruction_rows(CLIP, mask, {"reconstruction\na note": made}))
    assert list(rows) == ["frames", "motion", "mask", "visible input", "reconstruction"]
    frames, made_tiles = rows["frames"].tiles, rows["reconstruction"].tiles
    assert frames.shape == (GRID[0], *TILE, 3)
    masked = overlays.mask_per_pixel(mask, frames.shape[:3])
    assert (made_tiles[masked] == 255).all()
    np.testing.assert_array_equal(made_tiles[~masked], frames[~masked])
    np.testing.assert_array_equal(rows["visible input"].tiles[~masked], frames[~masked])


def test_each_strategy_has_a_row_with_its_boxes():
    boxes = np.tile(np.array([[8, 8, 30, 24], [np.nan] * 4], np.float32), (T, 1, 1))
    masks = {"mgm": make_mask(), "random": ~make_mask()}
    rows = by_name(sheets.mask_rows(make_clip(boxes=boxes), masks))
    assert list(rows) == ["frames", "motion", "mgm", "random"]
    assert "33.3% masked" in rows["mgm"].label
    for name in ("frames", "mgm", "random"):
        yellow = (rows[name].tiles == overlays.BOX).all(-1)
        top, bottom, left, right = 30, 90, 30, 112
        assert yellow[:, top, left:right].all()
        assert yellow[:, bottom - 1, left:right].all()
        assert yellow[:, top:bottom, left].all()


def test_a_sheet_shows_the_longest_motion_of_each_tubelet():
    motion = np.zeros((T, 4, 6, 2), np.float32)
    motion[2, 0, 0], motion[3, 0, 0] = (1, 0), (0, 10)
    motion[0] = 500  # Not valid.
    clip = make_clip(motion=motion)
    np.testing.assert_array_equal(clip.motion[1, 0, 0], (0, 10))
    assert not clip.motion[0].any()
    assert clip.motion_valid.all()
    assert clip.motion_scale == 10


def test_the_query_is_outlined_in_its_tubelet():
    attention = np.full(GRID, 1 / np.prod(GRID), np.float32)
    found = by_name(sheets.attention_rows(CLIP, attention, (2, 1, 4)))["attention"].tiles
    tubelets, rows, columns = np.nonzero((found == overlays.QUERY).all(axis=-1))
    assert set(tubelets) == {2}
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (30, 60, 120, 150)
