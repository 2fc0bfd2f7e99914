import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_arrays import GRID, TUBELET, H, T, W, make_clip

from mgm_jax.pictures import mask_overlays


@pytest.fixture
def clip():
    return make_clip()


@given(st.integers(0, 2**32 - 1), st.booleans(), st.floats(0.2, 1))
@settings(max_examples=25, deadline=None)
def test_overlays_touch_masked_cells_only(seed, cell_grid, opacity):
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (T, H, W, 3), np.uint8)
    mask = rng.random(GRID) < 0.6
    hidden = np.kron(mask, np.ones(TUBELET)).astype(bool)
    overlay = mask_overlays.mask_overlay(frames, mask, opacity=opacity, cell_grid=cell_grid)
    visible = mask_overlays.visible_input(frames, mask, opacity=opacity)
    for drawn in (overlay, visible):
        np.testing.assert_array_equal(drawn[~hidden], frames[~hidden])
        assert (drawn[hidden] != frames[hidden]).any(-1).mean() > 0.9 or not hidden.any()


def test_opaque_grey_hides_the_content_and_a_tint_lets_it_through(clip):
    frames = np.round(clip["frames"] * 255).astype(np.uint8)
    hidden = mask_overlays.mask_per_pixel(clip["mask"], (T, H, W))
    opaque = mask_overlays.visible_input(frames, clip["mask"])[hidden]
    assert (opaque == opaque[0]).all()
    tinted = mask_overlays.mask_overlay(frames, clip["mask"], outline=0)[hidden]
    brightness = frames[hidden].astype(float) @ (0.299, 0.587, 0.114)
    assert np.corrcoef(tinted[:, 0], brightness)[0, 1] > 0.99


def test_the_outline_runs_inside_the_masked_region(clip):
    frames = np.zeros((T, H, W, 3), np.uint8)
    plain = mask_overlays.mask_overlay(frames, clip["mask"], outline=0)
    outlined = mask_overlays.mask_overlay(frames, clip["mask"], outline=1)
    changed = (plain != outlined).any(-1)
    assert changed[0].sum() == 2 * (16 + 32) - 4
    assert changed[0, 8, 8:40].all()


def test_visible_pixels_are_pasted_from_the_input(clip):
    frames = np.full((T, H, W, 3), 10, np.uint8)
    pasted = mask_overlays.paste_visible(frames + 50, frames, clip["mask"])
    hidden = mask_overlays.mask_per_pixel(clip["mask"], (T, H, W))
    assert (pasted[hidden] == 60).all()
    assert (pasted[~hidden] == 10).all()


def test_boxes_are_drawn_around_their_pixels_and_nan_is_not():
    frames = np.zeros((2, 20, 30, 3), np.uint8)
    boxes = np.array([[[5, 4, 25, 15], [0, 0, 3, 2]], [[np.nan] * 4] * 2], np.float32)
    drawn = mask_overlays.draw_boxes(frames, boxes, colour=(255, 0, 0), width=1)
    large = drawn[0].copy()
    large[:2, :3] = 0
    rows, columns = np.nonzero(large.any(-1))
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (4, 15, 5, 25)
    assert drawn[0, :2, :3].any(-1).all()
    assert not drawn[1].any()
