"""The targets and the losses, against float64 numpy."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgm_jax.models import patches as patches_lib
from mgm_jax.training import losses

TUBELET = (2, 4, 4)
ONES = jnp.ones((8, 24))


def random_clips(seed=0, b=2):
    return np.random.default_rng(seed).random((b, 4, 8, 8, 3), dtype=np.float32)


def reference_target(clips, token, clip):
    """One token's target by loops: each channel of the tubelet by its own statistics."""
    t, h, w = np.unravel_index(token, (2, 2, 2))
    cube = clips[clip, 2 * t : 2 * t + 2, 4 * h : 4 * h + 4, 4 * w : 4 * w + 4].astype(np.float64)
    target = np.empty_like(cube)
    for c in range(3):
        values = cube[..., c].ravel()
        variance = sum((values - values.mean()) ** 2) / (len(values) - 1)
        target[..., c] = (cube[..., c] - values.mean()) / (np.sqrt(variance) + 1e-6)
    return target.reshape(-1, 3).T


def test_target_of_the_masked_tokens():
    clips = random_clips()
    ids = np.array([[1, 3, 6], [7, 0, 2]], np.int32)
    patches = patches_lib.patchify(jnp.asarray(clips), TUBELET)
    target = losses.pixel_target(patches_lib.gather_tokens(patches, jnp.asarray(ids)))
    assert target.dtype == jnp.float32
    for clip in range(2):
        for row, token in enumerate(ids[clip]):
            expected = reference_target(clips, token, clip)
            np.testing.assert_allclose(target[clip, row], expected, rtol=1e-4, atol=1e-5)


def test_raw_pixels_where_normalising_is_off():
    patches = patches_lib.patchify(jnp.asarray(random_clips()), TUBELET)
    np.testing.assert_array_equal(losses.pixel_target(patches, normalise=False), patches)


def test_a_flat_tubelet_has_target_zero():
    target = losses.pixel_target(jnp.full((1, 8, 3, 32), 0.25))
    np.testing.assert_array_equal(target, np.zeros((1, 8, 3, 32)))


def test_a_larger_eps_keeps_the_noise_of_a_flat_tubelet_small():
    noise = jnp.asarray(np.random.default_rng(0).normal(0.5, 1e-3, (1, 8, 3, 32)), jnp.float32)
    assert np.std(losses.pixel_target(noise)) == pytest.approx(1, abs=0.05)
    assert np.std(losses.pixel_target(noise, eps=0.02)) < 0.06


@pytest.mark.parametrize(
    "compute",
    [
        lambda clips: losses.pixel_target(clips.reshape(2, 8, 3, 32)),
        lambda clips: losses.masked_mse(clips[0], jnp.ones((4, 8, 8, 3)), jnp.ones(4)),
        lambda clips: losses.soft_cross_entropy(clips[0, 0].reshape(8, 24), ONES, jnp.ones(8)),
    ],
)
def test_bfloat16_is_computed_in_float32(compute):
    clips = jnp.asarray(random_clips()).astype(jnp.bfloat16)
    made = compute(clips)
    assert made.dtype == jnp.float32
    np.testing.assert_array_equal(made, compute(clips.astype(jnp.float32)))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=3, max_size=3), st.integers(0, 99))
def test_losses_are_weighted_means_over_clips(weights, seed):
    r = np.random.default_rng(seed)
    predictions, targets = r.standard_normal((2, 3, 4, 3, 5)).astype(np.float32)
    loss = losses.masked_mse(*map(jnp.asarray, (predictions, targets, np.float32(weights))))
    per_clip = [((predictions[i] - targets[i]).astype(np.float64) ** 2).mean() for i in range(3)]
    expected = np.average(per_clip, weights=weights) if sum(weights) else 0.0
    np.testing.assert_allclose(loss, expected, rtol=1e-5)

    logits = (10 * r.standard_normal((3, 5))).astype(np.float32)
    targets = r.dirichlet(np.ones(5), 3).astype(np.float32)
    loss = losses.soft_cross_entropy(*map(jnp.asarray, (logits, targets, np.float32(weights))))
    exponentials = np.exp(logits.astype(np.float64))
    probabilities = exponentials / exponentials.sum(1, keepdims=True)
    per_clip = -(targets * np.log(probabilities)).sum(1)
    expected = np.average(per_clip, weights=weights) if sum(weights) else 0.0
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
