"""Tubelets: order of tokens and of the values in one, and the layers into and out of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mgm_jax.models import patches as patches_lib
from mgm_jax.training import sharding


@pytest.mark.parametrize(
    "cut", [patches_lib.cut_by_transposition, patches_lib.cut_by_convolution], ids=["cpu", "tpu"]
)
def test_values_lie_where_a_loop_puts_them(cut):
    clips = np.random.default_rng(0).standard_normal((2, 4, 6, 8, 3), np.float32)
    patches = cut(jnp.moveaxis(clips, -1, 1), (2, 3, 4))
    assert patches.shape == (2, 2 * 2 * 2, 3, 2 * 3 * 4)
    for token, (t, h, w) in enumerate(np.ndindex(2, 2, 2)):
        cube = clips[:, 2 * t : 2 * t + 2, 3 * h : 3 * h + 3, 4 * w : 4 * w + 4]
        expected = cube.reshape(2, -1, 3).swapaxes(1, 2)
        np.testing.assert_array_equal(patches[:, token], expected)


@pytest.mark.parametrize(
    "cut",
    [patches_lib.cut_tokens_by_transposition, patches_lib.cut_tokens_by_convolution],
    ids=["cpu", "tpu"],
)
def test_tokens_are_cut_where_all_are(cut):
    r = np.random.default_rng(0)
    clips = jnp.asarray(r.standard_normal((3, 4, 6, 8, 3), np.float32))
    ids = [jnp.asarray(r.permuted(np.tile(np.arange(8), (3, 1)), axis=1)[:, :n]) for n in (3, 5)]
    patches = patches_lib.patchify(clips, (2, 3, 4))
    for channel in range(3):
        found = cut(clips[..., channel], *ids, tubelet=(2, 3, 4))
        mapped = jax.vmap(functools.partial(cut, tubelet=(2, 3, 4)))(
            clips[None, ..., channel], *(positions[None] for positions in ids)
        )
        for tokens, again, positions in zip(found, mapped, ids, strict=True):
            expected = patches_lib.gather_tokens(patches, positions)[:, :, channel]
            np.testing.assert_array_equal(tokens, expected)
            np.testing.assert_array_equal(again[0], expected)


def test_devices_cut_their_own_clips_on_a_tpu():
    rows = sharding.batch_sharding(sharding.make_mesh({"data": 4, "fsdp": 2, "tensor": 1}))
    cut = functools.partial(patches_lib.cut_tokens_by_convolution, tubelet=(2, 4, 4))
    arrays = jnp.zeros((8, 4, 8, 8)), jnp.zeros((8, 3), jnp.int32), jnp.ones((8, 5), jnp.int32)
    compiled = jax.jit(cut, in_shardings=rows, out_shardings=rows).lower(*arrays).compile()
    assert "all-" not in compiled.as_text()
    assert "collective" not in compiled.as_text()


def test_the_layers_are_linear_layers_of_videomae():
    r = np.random.default_rng(0)
    patches, tokens = (jnp.asarray(r.random((2, 5, *rest))) for rest in ((3, 8), (4,)))
    in_order = patches.swapaxes(2, 3).reshape(2, 5, 24)
    for layer, inputs, plain, flat in (
        (patches_lib.PatchEmbedding(4, "float32"), patches, nn.Dense(4), in_order),
        (patches_lib.PixelHead(8, "float32"), tokens, nn.Dense(24), tokens),
    ):
        params = jax.tree.map(
            lambda leaf: r.standard_normal(leaf.shape, np.float32),
            plain.init(jax.random.key(0), flat),
        )
        assert jax.tree.map(jnp.shape, layer.init(jax.random.key(0), inputs)) == jax.tree.map(
            jnp.shape, params
        )
        made, expected = layer.apply(params, inputs), plain.apply(params, flat)
        if made.ndim == 4:
            made = made.swapaxes(2, 3).reshape(expected.shape)
        np.testing.assert_allclose(made, expected, atol=1e-5)


@pytest.mark.parametrize("clip", [(15, 224, 224), (16, 220, 224), (16, 224, 230)])
def test_a_clip_that_does_not_divide_is_refused(clip):
    with pytest.raises(ValueError, match=r"does not divide into tubelets of \(2, 16, 16\)"):
        patches_lib.token_grid(*clip, (2, 16, 16))
