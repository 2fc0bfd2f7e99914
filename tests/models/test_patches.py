"""Tubelets: order of tokens and of the values in one, and the way back."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgm_jax.models import patches as tubelets


def test_values_lie_where_a_loop_puts_them():
    clips = np.arange(2 * 4 * 6 * 8 * 3, dtype=np.float32).reshape(2, 4, 6, 8, 3)
    patches = np.asarray(tubelets.patchify(jnp.asarray(clips), (2, 3, 4)))
    assert patches.shape == (2, 2 * 2 * 2, 2 * 3 * 4 * 3)
    token = 0
    for t in range(2):
        for h in range(2):
            for w in range(2):
                cube = clips[:, 2 * t : 2 * t + 2, 3 * h : 3 * h + 3, 4 * w : 4 * w + 4]
                np.testing.assert_array_equal(patches[:, token], cube.reshape(2, -1))
                token += 1


@settings(max_examples=8, deadline=None)
@given(
    grid=st.tuples(*[st.integers(1, 3)] * 3),
    tubelet=st.tuples(*[st.integers(1, 3)] * 3),
    channels=st.sampled_from([1, 3]),
)
def test_unpatchify_is_the_inverse(grid, tubelet, channels):
    shape = [g * p for g, p in zip(grid, tubelet, strict=True)]
    clips = np.random.default_rng(0).random((2, *shape, channels), dtype=np.float32)
    patches = tubelets.patchify(jnp.asarray(clips), tubelet)
    np.testing.assert_array_equal(tubelets.unpatchify(patches, grid, tubelet), clips)


def test_token_grid_of_the_paper():
    assert tubelets.token_grid(16, 224, 224, (2, 16, 16)) == (8, 14, 14)


@pytest.mark.parametrize("clip", [(15, 224, 224), (16, 220, 224), (16, 224, 230)])
def test_a_clip_that_does_not_divide_is_refused(clip):
    with pytest.raises(ValueError, match=r"does not divide into tubelets of \(2, 16, 16\)"):
        tubelets.token_grid(*clip, (2, 16, 16))


def test_unpatchify_refuses_part_of_the_tokens():
    with pytest.raises(ValueError, match="3 tokens do not fill"):
        tubelets.unpatchify(jnp.zeros((1, 3, 12)), (1, 2, 2), (1, 2, 2))


def test_gather_takes_each_clips_own_tokens_in_order():
    tokens = np.random.default_rng(0).random((2, 5, 3), dtype=np.float32)
    ids = np.array([[4, 0], [1, 3]], np.int32)
    gathered = tubelets.gather_tokens(jnp.asarray(tokens), jnp.asarray(ids))
    np.testing.assert_array_equal(gathered, [[tokens[0, 4], tokens[0, 0]], tokens[1, [1, 3]]])
