"""The encoder: sizes, parameter counts, and tokens left out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mgm_jax.models import layers, vit
from mgm_jax.models import patches as tubelets

GRID, TUBELET = (2, 2, 3), (2, 4, 4)


@functools.cache
def tiny_encoder():
    encoder = vit.Encoder(vit.TransformerSettings(16, 1, 2), GRID, TUBELET)
    clips = jnp.asarray(np.random.default_rng(0).random((2, 4, 8, 12, 3)), jnp.float32)
    return encoder, jax.jit(encoder.init)(jax.random.key(0), clips), clips


@functools.partial(jax.jit, static_argnums=0)
def encode(encoder, variables, clips, visible_ids=None):
    return encoder.apply(variables, clips, visible_ids)


def count_by_hand(dim, depth, patch_dim):
    """Patch embedding, blocks, final LayerNorm; biases of queries and values, none of keys."""
    embedding = patch_dim * dim + dim
    attention = 3 * dim * dim + 2 * dim + dim * dim + dim
    mlp = dim * 4 * dim + 4 * dim + 4 * dim * dim + dim
    return embedding + depth * (attention + mlp + 2 * 2 * dim) + 2 * dim


@pytest.mark.parametrize(
    ("size", "millions"), [("Ti", None), ("S", 21.9), ("B", 86.2), ("L", 303.9), ("H", 631.6)]
)
def test_parameter_count(size, millions):
    settings = vit.SIZES[size].encoder
    encoder = vit.Encoder(settings, (8, 14, 14))
    clips = jax.ShapeDtypeStruct((1, 16, 224, 224, 3), jnp.float32)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), clips)
    count = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    assert count == count_by_hand(settings.dim, settings.depth, 1536)
    if millions is not None:
        assert count / 1e6 == pytest.approx(millions, abs=0.06)


def test_sizes_are_videomaes():
    table = {
        name: [(part.dim, part.depth, part.heads) for part in (size.encoder, size.decoder)]
        for name, size in vit.SIZES.items()
    }
    assert table == {
        "Ti": [(192, 12, 3), (96, 4, 3)],
        "S": [(384, 12, 6), (192, 4, 3)],
        "B": [(768, 12, 12), (384, 4, 6)],
        "L": [(1024, 24, 16), (512, 12, 8)],
        "H": [(1280, 32, 16), (640, 12, 8)],
    }


def test_all_tokens_are_encoded_without_ids():
    encoder, variables, clips = tiny_encoder()
    ids = jnp.tile(jnp.arange(12), (2, 1))
    np.testing.assert_allclose(
        encode(encoder, variables, clips), encode(encoder, variables, clips, ids), atol=1e-6
    )


def test_tokens_follow_the_order_of_their_ids():
    encoder, variables, clips = tiny_encoder()
    ids = np.array([[0, 3, 7, 11], [1, 2, 8, 9]])
    order = [2, 0, 3, 1]
    encoded = encode(encoder, variables, clips, jnp.asarray(ids))
    permuted = encode(encoder, variables, clips, jnp.asarray(ids[:, order]))
    np.testing.assert_allclose(permuted, encoded[:, order], atol=1e-5)


def test_hidden_pixels_have_no_influence():
    encoder, variables, clips = tiny_encoder()
    visible = np.array([[0, 3, 7, 11], [1, 2, 8, 9]])
    patches = np.array(tubelets.patchify(clips, TUBELET))
    for clip in range(2):
        hidden = np.setdiff1d(np.arange(12), visible[clip])
        patches[clip, hidden] = np.nan
    noisy = tubelets.unpatchify(jnp.asarray(patches), GRID, TUBELET)
    visible = jnp.asarray(visible)
    encoded = encode(encoder, variables, noisy, visible)
    np.testing.assert_array_equal(encoded, encode(encoder, variables, clips, visible))


def test_embedding_adds_each_tokens_own_position():
    encoder, variables, clips = tiny_encoder()
    visible = np.array([[5, 0], [11, 6]])
    _, state = encoder.apply(
        variables,
        clips,
        jnp.asarray(visible),
        capture_intermediates=lambda module, _: module.name in ("embed", "norm1"),
    )
    kernel, bias = (np.asarray(variables["params"]["embed"][k]) for k in ("kernel", "bias"))
    patches = np.asarray(tubelets.patchify(clips, TUBELET))
    patches = np.stack([patches[i, visible[i]] for i in range(2)])
    tokens = patches @ kernel + bias + layers.sincos_position_table(12, 16)[visible]
    mean, variance = tokens.mean(-1, keepdims=True), tokens.var(-1, keepdims=True)
    first = state["intermediates"]["blocks"]["0"]["norm1"]["__call__"][0]
    np.testing.assert_allclose(first, (tokens - mean) / np.sqrt(variance + 1e-6), atol=1e-4)


def test_output_is_normalised_last():
    encoder, variables, clips = tiny_encoder()
    encoded = np.asarray(encode(encoder, variables, clips))
    np.testing.assert_allclose(encoded.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(encoded.var(-1), 1, atol=1e-3)


def test_clips_of_another_size_are_refused():
    encoder, variables, clips = tiny_encoder()
    with pytest.raises(ValueError, match=r"token grid \(2, 2, 2\).*made for \(2, 2, 3\)"):
        encoder.apply(variables, clips[:, :, :, :8])


def test_overrides_change_only_what_they_name():
    settings = vit.autoencoder_settings(
        "S", {"encoder": {"depth": 2, "dim": None}, "decoder": {"dim": 64, "heads": 4}}
    )
    assert settings.encoder == vit.TransformerSettings(384, 2, 6)
    assert settings.decoder == vit.TransformerSettings(64, 4, 4)
    assert vit.autoencoder_settings("S") == vit.SIZES["S"]


@pytest.mark.parametrize(
    ("size", "overrides", "message"),
    [
        ("XL", {}, "no model size named 'XL'; choose one of Ti, S, B, L, H"),
        ("S", {"head": {}}, "no part 'head' to override; choose from encoder, decoder"),
        ("S", {"encoder": {"width": 3}}, "no field 'width' to override in the encoder"),
        ("S", {"encoder": {"dim": 100}}, "a width of 100 does not divide into 6 heads"),
    ],
)
def test_unknown_names_are_refused(size, overrides, message):
    with pytest.raises(ValueError, match=message):
        vit.autoencoder_settings(size, overrides)
