import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_arrays import GRID, TUBELET, H, T, W, make_clip, shape_checks_off

from mgm_jax.pictures import mask_overlays, reconstruction


@pytest.fixture
def clip():
    return make_clip()


def targets_of(frames, tubelet=TUBELET):
    """Normalised tubelets, written out loop by loop."""
    (p0, p1, p2), tokens = tubelet, []
    for t in range(0, frames.shape[0], p0):
        for y in range(0, frames.shape[1], p1):
            for x in range(0, frames.shape[2], p2):
                cube = frames[t : t + p0, y : y + p1, x : x + p2].reshape(-1, 3).astype(np.float64)
                cube = (cube - cube.mean(0)) / (cube.std(0, ddof=1) + 1e-6)
                tokens.append(cube.reshape(-1))
    return np.stack(tokens)


def test_true_targets_with_the_targets_statistics_give_the_clip_back(clip):
    masked_ids = np.random.default_rng(1).permutation(np.flatnonzero(clip["mask"]))
    predictions = targets_of(clip["frames"])[masked_ids]
    made = reconstruction.denormalise(
        predictions, masked_ids, clip["frames"], tubelet=TUBELET, statistics="target"
    )
    np.testing.assert_allclose(made, clip["frames"], atol=1e-5)


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
@settings(max_examples=25, deadline=None)
def test_masked_pixels_do_not_reach_the_default_reconstruction(seed, ratio):
    rng = np.random.default_rng(seed)
    masked_ids = rng.permutation(96)[: round(96 * ratio)]
    mask = np.zeros(96, bool)
    mask[masked_ids] = True
    hidden = mask_overlays.mask_per_pixel(mask.reshape(GRID), (T, H, W))
    predictions = rng.normal(size=(len(masked_ids), 384)).astype(np.float32)
    frames = rng.random((T, H, W, 3), np.float32)
    made = reconstruction.denormalise(predictions, masked_ids, frames, tubelet=TUBELET)
    for other in (np.nan, 0.0, 1e6):
        disturbed = np.where(hidden[..., None], np.float32(other), frames)
        again = reconstruction.denormalise(predictions, masked_ids, disturbed, tubelet=TUBELET)
        np.testing.assert_array_equal(again, made)
    np.testing.assert_array_equal(made[~hidden], frames[~hidden])
    leaky = reconstruction.denormalise(
        predictions, masked_ids, frames, tubelet=TUBELET, statistics="target"
    )
    assert np.abs(leaky - made).max() > 1e-3


def test_the_default_statistics_lie_between_and_follow_the_nearest_visible_tubelets():
    ramp = np.linspace(0.1, 0.9, 14, dtype=np.float32).repeat(8)
    frames = np.broadcast_to(ramp[None, None, :, None], (2, 8, 112, 3)).copy()
    masked_ids = np.arange(1, 13)
    predictions = np.zeros((12, 384), np.float32)
    made = reconstruction.denormalise(predictions, masked_ids, frames, tubelet=TUBELET)
    cells = made[0, 0, ::8, 0]
    assert (np.diff(cells) >= 0).all()
    assert cells[0] == pytest.approx(0.1)
    assert cells[1] == pytest.approx(0.1, abs=0.01)
    assert cells[12] == pytest.approx(0.9, abs=0.01)
    assert cells[6] + cells[7] == pytest.approx(1.0, abs=1e-5)


def test_a_moment_earlier_counts_more_than_a_place_nearby():
    frames = np.full((4, 8, 24, 3), 0.2, np.float32)
    frames[:2, :, 8:16] = 0.8
    # Hidden: the middle of the second step. Both neighbours there are dark, its past is bright.
    made = reconstruction.denormalise(
        np.zeros((1, 384), np.float32), np.array([4]), frames, tubelet=TUBELET
    )
    assert made[2, 4, 12, 0] > 0.6


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"predictions": np.zeros((3, 383), np.float32)}, "predictions have shape"),
        ({"masked_ids": np.array([1, 1, 2])}, "masked_ids repeat"),
        ({"masked_ids": np.array([1, 2, 96])}, r"masked_ids leave 0\.\.95"),
        ({"frames": np.zeros((T, H, W + 1, 3), np.float32)}, "frames have shape"),
        ({"statistics": "mean"}, "statistics is 'mean'"),
    ],
)
def test_denormalise_names_what_does_not_fit(change, named):
    arguments = {
        "predictions": np.zeros((3, 384), np.float32),
        "masked_ids": np.array([1, 2, 3]),
        "frames": np.zeros((T, H, W, 3), np.float32),
        **change,
    }
    with shape_checks_off(), pytest.raises(ValueError, match=named):
        reconstruction.denormalise(**arguments, tubelet=TUBELET)


def test_denormalise_needs_a_visible_tubelet(clip):
    with pytest.raises(ValueError, match="none is visible"):
        reconstruction.denormalise(
            np.zeros((96, 384), np.float32), np.arange(96), clip["frames"], tubelet=TUBELET
        )
