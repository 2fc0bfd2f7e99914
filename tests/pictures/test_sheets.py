import functools

import numpy as np
from picture_arrays import GRID, TILE, H, T, W, make_clip, make_mask

from mgm_jax.pictures import overlays, sheets

PER_TUBELET = make_clip().per_tubelet(GRID[0])


def rows_of(clip, make_rows):
    return {row.label.partition("\n")[0]: row for row in make_rows(clip)}


def test_reconstructions_show_the_input_where_it_is_visible():
    mask, made = make_mask(), np.full((T, H, W, 3), 255, np.uint8)
    make_rows = functools.partial(
        sheets.reconstruction_rows, mask=mask, reconstructions={"reconstruction\na note": made}
    )
    for clip in (make_clip(), PER_TUBELET):
        rows = rows_of(clip, make_rows)
        assert list(rows) == ["frames", "motion", "mask", "visible input", "reconstruction"]
        frames, made_tiles = rows["frames"].tiles, rows["reconstruction"].tiles
        assert frames.shape == (len(clip.frames), *TILE, 3)
        masked = overlays.mask_per_pixel(mask, frames.shape[:3])
        assert (made_tiles[masked] == 255).all()
        np.testing.assert_array_equal(made_tiles[~masked], frames[~masked])
        np.testing.assert_array_equal(rows["visible input"].tiles[~masked], frames[~masked])


def test_each_strategy_has_a_row_with_its_boxes():
    boxes = np.tile(np.array([[8, 8, 30, 24], [np.nan] * 4], np.float32), (T, 1, 1))
    masks = {"mgm": make_mask(), "random": ~make_mask()}
    rows = rows_of(make_clip(boxes=boxes), functools.partial(sheets.mask_rows, masks=masks))
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
    clip = make_clip(motion=motion).per_tubelet(GRID[0])
    np.testing.assert_array_equal(clip.motion[1, 0, 0], (0, 10))
    assert not clip.motion[0].any()
    assert clip.motion_valid.all()
    np.testing.assert_array_equal(clip.frames, make_clip().frames[::2])


def test_the_query_is_outlined_in_its_tubelet():
    attention = np.full(GRID, 1 / np.prod(GRID), np.float32)
    for clip, outlined in ((make_clip(), [4, 5]), (PER_TUBELET, [2])):
        make_rows = functools.partial(sheets.attention_rows, attention=attention, query=(2, 1, 4))
        found = (rows_of(clip, make_rows)["attention"].tiles == overlays.QUERY).all(axis=-1)
        assert np.flatnonzero(found.any(axis=(1, 2))).tolist() == outlined
        _, rows, columns = np.nonzero(found)
        assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (30, 60, 120, 150)
