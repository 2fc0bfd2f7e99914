import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_arrays import GRID, TUBELET, H, T, W, make_mask

from mgm_jax.models import patches
from mgm_jax.pictures import overlays
from mgm_jax.pictures.reconstruction import to_frames

FRAMES = np.random.default_rng(0).random((T, H, W, 3), np.float32)


@pytest.mark.parametrize("statistics", ["target", "none"])
def test_true_targets_give_the_clip_back(statistics):
    masked_ids = np.random.default_rng(1).permutation(np.flatnonzero(make_mask()))
    tubelets = np.asarray(patches.patchify(jnp.asarray(FRAMES[None]), TUBELET)[0])
    if statistics == "target":
        deviation = tubelets.std(axis=2, ddof=1, keepdims=True)
        tubelets = (tubelets - tubelets.mean(axis=2, keepdims=True)) / (deviation + 0.1)
    made = to_frames(tubelets[masked_ids], masked_ids, FRAMES, TUBELET, statistics, eps=0.1)
    np.testing.assert_allclose(made, FRAMES, atol=1e-5)


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
@settings(max_examples=25, deadline=None)
def test_visible_statistics_do_not_depend_on_masked_pixels(seed, ratio):
    rng = np.random.default_rng(seed)
    masked_ids = rng.permutation(96)[: round(96 * ratio)]
    mask = np.zeros(96, bool)
    mask[masked_ids] = True
    masked = overlays.mask_per_pixel(mask.reshape(GRID), (T, H, W))
    predictions = rng.normal(size=(len(masked_ids), 3, 128)).astype(np.float32)
    frames = rng.random((T, H, W, 3), np.float32)
    made = to_frames(predictions, masked_ids, frames, TUBELET, "visible")
    for other in (np.nan, 0.0, 1e6):
        disturbed = np.where(masked[..., None], np.float32(other), frames)
        again = to_frames(predictions, masked_ids, disturbed, TUBELET, "visible")
        np.testing.assert_array_equal(again, made)
    np.testing.assert_array_equal(made[~masked], frames[~masked])
    assert np.abs(to_frames(predictions, masked_ids, frames, TUBELET, "target") - made).max() > 1e-3


def test_visible_statistics_are_interpolated_from_the_nearest_tubelets():
    ramp = np.linspace(0.1, 0.9, 14, dtype=np.float32).repeat(8)
    frames = np.broadcast_to(ramp[None, None, :, None], (2, 8, 112, 3)).copy()
    predictions = np.zeros((12, 3, 128), np.float32)
    cells = to_frames(predictions, np.arange(1, 13), frames, TUBELET, "visible")[0, 0, ::8, 0]
    assert (np.diff(cells) >= 0).all()
    assert cells[0] == pytest.approx(0.1)
    assert cells[1] == pytest.approx(0.1, abs=0.01)
    assert cells[12] == pytest.approx(0.9, abs=0.01)
    assert cells[6] + cells[7] == pytest.approx(1.0, abs=1e-5)
