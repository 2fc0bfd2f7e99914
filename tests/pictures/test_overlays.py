import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_arrays import GRID, TUBELET, H, T, W

from mgm_jax.pictures import overlays


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_overlays_change_masked_tubelets_only(seed):
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (T, H, W, 3), np.uint8)
    mask = rng.random(GRID) < 0.6
    masked = np.kron(mask, np.ones(TUBELET)).astype(bool)
    for drawn in (
        overlays.mask_overlay(frames, mask),
        overlays.paste_visible(overlays.MASKED, frames, mask),
    ):
        np.testing.assert_array_equal(drawn[~masked], frames[~masked])
        assert (drawn[masked] != frames[masked]).any(-1).mean() > 0.9 or not masked.any()


def test_boxes_are_drawn_inside_their_pixels_and_nan_is_not():
    frames = np.zeros((2, 20, 30, 3), np.uint8)
    boxes = np.array([[[5, 4, 25, 15], [0, 0, 4, 4]], [[np.nan] * 4] * 2], np.float32)
    drawn = overlays.draw_boxes(frames, boxes, colour=(255, 0, 0))
    large = drawn[0].copy()
    large[:4, :4] = 0
    rows, columns = np.nonzero(large.any(-1))
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (4, 15, 5, 25)
    assert drawn[0, :4, :4].any(-1).all()
    assert not drawn[1].any()


def test_attention_is_bright_where_its_weights_are_large():
    attention = np.zeros(GRID, np.float32)
    attention[1, 2, 3] = 1.0
    for shade in (0, 255):
        frames = np.full((GRID[0], H, W, 3), shade, np.uint8)
        lit = overlays.attention_overlay(frames, attention, brightest=1.0).mean(axis=-1)
        brightest = np.unravel_index(lit[1].argmax(), lit[1].shape)
        assert (brightest[0] // 8, brightest[1] // 8) == (2, 3)
        others = lit[[0, 2, 3]]
        assert others.max() - others.min() < 1
        assert lit[1].max() > others.max() + 50
