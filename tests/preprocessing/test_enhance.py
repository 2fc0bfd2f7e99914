"""Saturation and sharpness against Pillow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import ImageEnhance

from mgm_jax.preprocessing import enhance
from tests.preprocessing import images


@pytest.mark.parametrize("factor", [0.0, 0.37, 1.0, 1.63, 1.9])
@pytest.mark.parametrize(
    ("function", "pillow"),
    [(enhance.saturate, ImageEnhance.Color), (enhance.sharpen, ImageEnhance.Sharpness)],
)
@pytest.mark.parametrize("kind", ["noise", "smooth"])
def test_enhancement_is_pillows(function, pillow, factor, kind):
    frames = images.noise((2, 20, 30, 3)) if kind == "noise" else images.smooth(2, 20, 30)
    got = jax.jit(function)(jnp.asarray(frames, jnp.float32), jnp.float32(factor))
    expected = images.by_pillow(lambda image: pillow(image).enhance(factor), frames)
    difference = abs(np.asarray(got) - expected)
    assert difference.max() <= 1
    # Where the sum is a whole level, rounding decides.
    assert (difference > 0).mean() < 0.02


def test_factor_one_changes_nothing():
    frames = jnp.asarray(images.noise((2, 20, 30, 3)), jnp.float32)
    for function in (enhance.saturate, enhance.sharpen):
        np.testing.assert_array_equal(function(frames, jnp.float32(1)), frames)
