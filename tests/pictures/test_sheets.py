import numpy as np
import pytest
from picture_arrays import GRID, H, T, W, make_clip, shape_checks_off

from mgm_jax.pictures import layout, mask_overlays, sheets


@pytest.fixture
def clip():
    return make_clip()


def masks_of(clip):
    """The same clip as arguments of the mask pictures, with two strategies."""
    kept = {k: clip[k] for k in ("frames", "motion", "motion_valid", "clip_id")}
    return {**kept, "masks": {"mgm": clip["mask"], "random_tube": ~clip["mask"]}}


def tiles_in(sheet, size):
    """Corners of the tiles: where a hairline frame of the right size stands."""
    hairline = np.array((205, 205, 210))
    on = (sheet == hairline).all(-1)
    height, width = size
    runs = np.cumsum(np.pad(on, ((0, 0), (1, 0))), axis=1)
    full = runs[:, width + 2 :] - runs[:, : -(width + 2)] == width + 2
    tops = full[: -(height + 1)] & full[height + 1 :]
    return [(y + 1, x + 1) for y, x in np.argwhere(tops)]


def test_a_reconstruction_sheet_has_a_row_per_view_and_a_column_per_step(clip):
    size = layout.tile_size((H, W), GRID[1:], GRID[0])
    sheet = sheets.reconstruction_sheet(**clip)
    places = tiles_in(sheet, size)
    assert len({y for y, _ in places}) == 5
    assert len({x for _, x in places}) == GRID[0]
    assert len(places) == 5 * GRID[0]
    leaky = sheets.reconstruction_sheet(
        **clip, leaky_reconstruction=clip["reconstruction"], step=1000
    )
    assert len(tiles_in(leaky, size)) == 6 * GRID[0]
    assert leaky.shape[1] == sheet.shape[1]


def test_tiles_show_the_frames_and_the_pasted_reconstruction(clip):
    size = layout.tile_size((H, W), GRID[1:], GRID[0])
    factor = size[0] // H
    sheet = sheets.reconstruction_sheet(**clip)
    places = tiles_in(sheet, size)
    rows, columns = sorted({y for y, _ in places}), sorted({x for _, x in places})

    def tile(row, column):
        y, x = rows[row], columns[column]
        return sheet[y : y + size[0] : factor, x : x + size[1] : factor].astype(int)

    hidden = mask_overlays.mask_per_pixel(clip["mask"], (T, H, W))[4]
    frame, made = (np.round(clip[k][4] * 255) for k in ("frames", "reconstruction"))
    np.testing.assert_array_equal(tile(0, 2), frame)
    np.testing.assert_array_equal(tile(4, 2), np.where(hidden[..., None], made, frame))


def test_uint8_frames_give_the_same_sheet(clip):
    as_float = sheets.reconstruction_sheet(**clip)
    clip["frames"] = np.round(clip["frames"] * 255).astype(np.uint8)
    np.testing.assert_array_equal(sheets.reconstruction_sheet(**clip), as_float)


def test_sheet_columns_show_the_longer_vector_of_the_tubelet(clip):
    clip["motion"] = np.zeros_like(clip["motion"])
    clip["motion"][2, 0, 0] = (1, 0)
    clip["motion"][3, 0, 0] = (0, 10)
    clip["motion"][0] = 500
    size = layout.tile_size((H, W), GRID[1:], GRID[0])
    sheet = sheets.mask_sheet(**masks_of(clip))
    y, x = sorted(tiles_in(sheet, size))[GRID[0] + 1]
    assert tuple(sheet[y + 2, x + 2]) == (255, 234, 0)
    _, first = sorted(tiles_in(sheet, size))[GRID[0]]
    assert (sheet[y : y + size[0], first : first + size[1]] == 255).all()


def test_a_mask_sheet_has_a_row_per_strategy(clip):
    size = layout.tile_size((H, W), GRID[1:], GRID[0])
    boxes = np.tile(np.array([[8, 8, 30, 24], [np.nan] * 4], np.float32), (T, 1, 1))
    sheet = sheets.mask_sheet(**masks_of(clip))
    boxed = sheets.mask_sheet(**masks_of(clip), boxes=boxes)
    assert len(tiles_in(sheet, size)) == 4 * GRID[0]
    assert boxed.shape == sheet.shape
    yellow = (boxed == (255, 214, 10)).all(-1)
    factor = size[0] // H
    y, x = sorted(tiles_in(sheet, size))[0]
    assert yellow[y + 8 * factor, x + 8 * factor : x + 30 * factor].all()
    assert yellow[y + 24 * factor - 1, x + 8 * factor : x + 30 * factor].all()
    assert yellow[y + 8 * factor : y + 24 * factor, x + 30 * factor - 1].all()


def test_a_full_size_sheet_fits_the_page(clip):
    rng = np.random.default_rng(0)
    frames = rng.random((16, 224, 224, 3), np.float32)
    mask = np.zeros((8, 14, 14), bool)
    mask[:, 1:13, 1:13] = True
    sheet = sheets.mask_sheet(
        frames,
        np.zeros((16, 28, 28, 2), np.float32),
        np.ones(16, bool),
        {"mgm": mask},
        clip_id="long name " * 40,
    )
    assert 1200 <= sheet.shape[1] <= 1800
    assert (sheet[:, -20:] == 255).all()
    assert (sheet[:, :20] == 255).all()


def test_a_mask_animation_shows_the_mask_of_each_frames_tubelet(clip):
    clip["mask"][3] = False
    images = sheets.mask_animation(**masks_of(clip))
    assert len(images) == T
    assert (images[0] != images[1]).any()
    clip["frames"][:] = 0.5
    clip["motion"][:] = 0
    clip["motion_valid"][:] = True
    images = sheets.mask_animation(**masks_of(clip))[:, 90:]
    np.testing.assert_array_equal(images[0], images[5])
    np.testing.assert_array_equal(images[6], images[7])
    assert (images[5] != images[6]).any()


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("frames", np.zeros((T, H, W), np.float32), r"frames have shape \(8, 32, 48\)"),
        ("frames", np.full((T, H, W, 3), 200, np.float32), r"frames: values .*uint8"),
        ("frames", np.full((T, H, W, 3), np.nan, np.float32), "frames: values"),
        ("motion", np.zeros((T - 1, 4, 6, 2), np.float32), "motion has shape"),
        ("motion", np.full((T, 4, 6, 2), np.nan, np.float32), "motion holds NaN"),
        ("motion_valid", np.ones(T - 1, bool), "motion_valid is"),
        ("mask", np.ones(GRID, np.float32), "'mask' is float32"),
        ("mask", np.ones((4, 5, 6), bool), r"mask has a grid of \(4, 5, 6\)"),
        ("mask", np.ones((3, 4, 6), bool), r"mask has a grid of \(3, 4, 6\)"),
        ("reconstruction", np.zeros((T, H, W // 2, 3), np.float32), "reconstruction has shape"),
        ("reconstruction", np.full((T, H, W, 3), 9, np.float32), "reconstruction: values"),
        ("leaky_reconstruction", np.zeros((1, H, W, 3), np.float32), "leaky reconstruction has"),
        ("boxes", np.zeros((T + 1, 1, 4), np.float32), "boxes have shape"),
        ("boxes", np.zeros((T, 4), np.float32), "boxes have shape"),
    ],
)
def test_arrays_that_do_not_belong_together_are_named(clip, key, value, named):
    clip[key] = value
    for draw in (sheets.reconstruction_sheet, sheets.reconstruction_animation):
        with shape_checks_off(), pytest.raises(ValueError, match=named):
            draw(**clip)


def test_masks_on_different_grids_are_named(clip):
    arguments = masks_of(clip)
    arguments["masks"]["random"] = np.ones((4, 2, 3), bool)
    with shape_checks_off(), pytest.raises(ValueError, match="'random' is bool"):
        sheets.mask_sheet(**arguments)
    with pytest.raises(ValueError, match="masks are empty"):
        sheets.mask_sheet(**{**arguments, "masks": {}})
