"""Tubelets: order of tokens and of the values in one, and the way back."""

import jax.numpy as jnp
import numpy as np
import pytest

from mgm_jax.models import patches as patches_lib


@pytest.mark.parametrize("module", [np, jnp])
def test_values_lie_where_a_loop_puts_them(module):
    clips = np.arange(2 * 4 * 6 * 8 * 3, dtype=np.float32).reshape(2, 4, 6, 8, 3)
    patches = patches_lib.patchify(module.asarray(clips), (2, 3, 4))
    assert patches.shape == (2, 2 * 2 * 2, 2 * 3 * 4 * 3)
    for token, (t, h, w) in enumerate(np.ndindex(2, 2, 2)):
        cube = clips[:, 2 * t : 2 * t + 2, 3 * h : 3 * h + 3, 4 * w : 4 * w + 4]
        np.testing.assert_array_equal(patches[:, token], cube.reshape(2, -1))
    again = patches_lib.unpatchify(patches, (2, 2, 2), (2, 3, 4))
    assert isinstance(again, type(patches))
    np.testing.assert_array_equal(again, clips)


def test_token_grid_of_the_paper():
    assert patches_lib.token_grid(16, 224, 224, (2, 16, 16)) == (8, 14, 14)


@pytest.mark.parametrize("clip", [(15, 224, 224), (16, 220, 224), (16, 224, 230)])
def test_a_clip_that_does_not_divide_is_refused(clip):
    with pytest.raises(ValueError, match=r"does not divide into tubelets of \(2, 16, 16\)"):
        patches_lib.token_grid(*clip, (2, 16, 16))


def test_gather_takes_each_clips_own_tokens_in_order():
    tokens = np.random.default_rng(0).random((2, 5, 3), dtype=np.float32)
    ids = np.array([[4, 0], [1, 3]], np.int32)
    gathered = patches_lib.gather_tokens(jnp.asarray(tokens), jnp.asarray(ids))
    np.testing.assert_array_equal(gathered, [[tokens[0, 4], tokens[0, 0]], tokens[1, [1, 3]]])
