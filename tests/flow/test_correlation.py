import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgm_jax.flow import correlation


def sample(level, x, y):
    """Bilinear, zero outside: by the definition."""
    total = 0.0
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            if 0 <= row < level.shape[0] and 0 <= column < level.shape[1]:
                total += level[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def test_the_pyramid_correlates_all_pairs_and_averages_the_second_map():
    rng = np.random.default_rng(0)
    features1, features2 = rng.standard_normal((2, 1, 9, 11, 16)).astype(np.float32)
    pyramid = correlation.correlation_pyramid(jnp.asarray(features1), jnp.asarray(features2))
    assert [level.shape for level in pyramid] == [
        (1, 99, 9, 11),
        (1, 99, 4, 5),
        (1, 99, 2, 2),
        (1, 99, 1, 1),
    ]
    # Averaging correlations is averaging features: the coarsest cell sees 8x8 of the 9x11 cells.
    for level, side in enumerate((1, 2, 4, 8)):
        rows, columns = pyramid[level].shape[2:]
        coarse = features2[0, : rows * side, : columns * side]
        coarse = coarse.reshape(rows, side, columns, side, 16).mean(axis=(1, 3))
        expected = np.einsum("nc,ijc->nij", features1.reshape(99, 16), coarse) / 4
        np.testing.assert_allclose(pyramid[level][0], expected, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    x=st.floats(-20, 20, width=32), y=st.floats(-20, 20, width=32), seed=st.integers(0, 2**32 - 1)
)
def test_look_up_samples_bilinearly_with_x_slowest(x, y, seed):
    rng = np.random.default_rng(seed)
    levels = [rng.standard_normal((1, 2, *size)).astype(np.float32) for size in ((6, 9), (3, 4))]
    centres = np.array([x, y], np.float32) + np.array([[0, 0], [1, 0]], np.float32)
    found = correlation.look_up(
        tuple(jnp.asarray(level) for level in levels), jnp.asarray(centres[None, None])
    )
    side = 2 * correlation.RADIUS + 1
    found = np.asarray(found).reshape(2, len(levels), side, side)
    for cell, centre in enumerate(centres.astype(np.float64)):
        for number, level in enumerate(levels):
            for i, j in ((0, 0), (0, 6), (3, 3), (5, 2)):
                expected = sample(
                    level[0, cell],
                    centre[0] / 2**number + i - correlation.RADIUS,
                    centre[1] / 2**number + j - correlation.RADIUS,
                )
                assert found[cell, number, i, j] == pytest.approx(expected, abs=1e-4)
