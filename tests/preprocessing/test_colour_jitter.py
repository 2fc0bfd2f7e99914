import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mgm_jax.preprocessing import colour_jitter as module
from mgm_jax.preprocessing.colour_jitter import colour_jitter, shift_hsv


def clips():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8, 3), np.uint8)
    pixels[0, 0, 0] = 128  # Grey has no hue.
    pixels[0, 0, 1] = 0
    return pixels


@pytest.mark.parametrize("shift", [(0, 0, 0), (20, 0, 0), (-40, 0.1, 0), (10, -0.5, -0.2)])
def test_it_is_opencvs_conversion_to_hsv_and_back(shift):
    pixels = clips()
    hsv = cv2.cvtColor(pixels.reshape(-1, 8, 3).astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + shift[0]) % 360
    hsv[..., 1:] = np.clip(hsv[..., 1:] + shift[1:], 0, 1)
    expected = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).reshape(pixels.shape)
    found = shift_hsv(jnp.float32(pixels) / 255, jnp.float32(shift))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_all_frames_of_a_clip_are_shifted_alike_and_clips_differ():
    keys = jax.random.split(jax.random.key(0), 2)
    same = jnp.broadcast_to(jnp.float32(clips())[:1, :1] / 255, (2, 3, 8, 8, 3))
    found = colour_jitter(keys, same, (20.0, 0.1, 0.1))
    np.testing.assert_array_equal(found[:, 0], found[:, 2])
    assert 0.005 < jnp.abs(found[0] - found[1]).mean() < 0.2
    assert colour_jitter(keys, same, (0.0, 0.0, 0.0)) is same


def test_shifts_are_uniform_to_both_sides_and_independent(monkeypatch):
    monkeypatch.setattr(module, "shift_hsv", lambda rgb, shift: jnp.zeros_like(rgb) + shift)
    keys, reach = jax.random.split(jax.random.key(0), 1000), (20.0, 0.1, 0.2)
    shifts = np.asarray(colour_jitter(keys, jnp.zeros((1000, 1, 1, 1, 3)), reach))[:, 0, 0, 0]
    for share in (0.0, 0.25, 0.5, 1.0):
        expected = (2 * share - 1) * np.array(reach)
        np.testing.assert_allclose(
            np.quantile(shifts, share, axis=0) / reach, expected / reach, atol=0.08
        )
    assert np.abs(np.corrcoef(shifts.T) - np.eye(3)).max() < 0.1
