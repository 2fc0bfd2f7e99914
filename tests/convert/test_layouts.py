"""State dicts in PyTorch's names against hand-written lists, there and back."""

import ml_dtypes
import numpy as np
import pytest
from random_weights import (
    AUTOENCODER,
    CLASSIFIER,
    HEADS,
    TUBELET,
    assert_equal,
    random_params,
)

from mgm_jax.convert import layouts
from mgm_jax.convert.architecture import Architecture
from mgm_jax.errors import CheckpointError
from mgm_jax.models import vit
from mgm_jax.models.layers import TransformerConfig


def block(prefix, dim):
    """A block of the original's, as its `state_dict()` names it."""
    return {
        f"{prefix}.norm1.weight": (dim,),
        f"{prefix}.norm1.bias": (dim,),
        f"{prefix}.attn.q_bias": (dim,),
        f"{prefix}.attn.v_bias": (dim,),
        f"{prefix}.attn.qkv.weight": (3 * dim, dim),
        f"{prefix}.attn.proj.weight": (dim, dim),
        f"{prefix}.attn.proj.bias": (dim,),
        f"{prefix}.norm2.weight": (dim,),
        f"{prefix}.norm2.bias": (dim,),
        f"{prefix}.mlp.fc1.weight": (4 * dim, dim),
        f"{prefix}.mlp.fc1.bias": (4 * dim,),
        f"{prefix}.mlp.fc2.weight": (dim, 4 * dim),
        f"{prefix}.mlp.fc2.bias": (dim,),
    }


ORIGINAL_AUTOENCODER = {
    "mask_token": (1, 1, 16),
    "encoder.patch_embed.proj.weight": (24, 3, 2, 8, 8),
    "encoder.patch_embed.proj.bias": (24,),
    **block("encoder.blocks.0", 24),
    **block("encoder.blocks.1", 24),
    "encoder.norm.weight": (24,),
    "encoder.norm.bias": (24,),
    **block("decoder.blocks.0", 16),
    "decoder.norm.weight": (16,),
    "decoder.norm.bias": (16,),
    "decoder.head.weight": (384, 16),
    "decoder.head.bias": (384,),
    "encoder_to_decoder.weight": (16, 24),
}
ORIGINAL_CLASSIFIER = {
    "patch_embed.proj.weight": (24, 3, 2, 8, 8),
    "patch_embed.proj.bias": (24,),
    **block("blocks.0", 24),
    **block("blocks.1", 24),
    "fc_norm.weight": (24,),
    "fc_norm.bias": (24,),
    "head.weight": (5, 24),
    "head.bias": (5,),
}


def state_of(architecture, layout):
    return layouts.to_state(random_params(architecture), architecture, layout, "random")


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [(AUTOENCODER, ORIGINAL_AUTOENCODER), (CLASSIFIER, ORIGINAL_CLASSIFIER)],
)
def test_names_and_shapes_of_the_original(architecture, expected):
    state = state_of(architecture, "original")
    assert {name: value.shape for name, value in state.items()} == expected


def test_the_original_stacks_hugging_faces_query_key_and_value():
    original = state_of(AUTOENCODER, "original")["decoder.blocks.0.attn.qkv.weight"]
    theirs = state_of(AUTOENCODER, "hugging_face")
    prefix = "decoder.decoder_layers.0.attention.attention"
    names = [f"{prefix}.{name}.weight" for name in ("query", "key", "value")]
    np.testing.assert_array_equal(original, np.concatenate([theirs[name] for name in names]))


def test_both_spellings_of_hugging_faces_biases_are_read():
    state = state_of(CLASSIFIER, "hugging_face")
    assert "videomae.encoder.layer.1.attention.attention.q_bias" in state
    for old, new in (("q_bias", "query.bias"), ("v_bias", "value.bias")):
        state = {name.replace(old, new): value for name, value in state.items()}
    layout, renamed = layouts.find_layout(state, "random")
    params = layouts.from_state(renamed, CLASSIFIER, layout, "random")
    assert_equal(params, random_params(CLASSIFIER))


@pytest.mark.parametrize(("whole", "final_norm"), [(AUTOENCODER, True), (CLASSIFIER, False)])
def test_an_encoder_alone_is_read_but_not_written(whole, final_norm):
    architecture = Architecture(whole.encoder, TUBELET, final_norm=final_norm)
    state = {
        name.removeprefix("videomae."): value
        for name, value in state_of(whole, "hugging_face").items()
        if name.startswith("videomae.")
    }
    layout, renamed = layouts.find_layout(state, "random")
    assert layouts.infer_architecture(renamed, layout, HEADS, "random") == architecture
    params = layouts.from_state(renamed, architecture, layout, "random")
    expected = random_params(whole)
    assert_equal(params, {name: expected[name] for name in params})
    assert ("encoder/norm/scale" in params) == final_norm
    with pytest.raises(CheckpointError, match=r"random.*encoder"):
        layouts.to_state(params, architecture, layout, "random")


def test_other_floats_become_float32_and_integers_are_refused():
    state = {
        name: value.astype(ml_dtypes.bfloat16)
        for name, value in state_of(CLASSIFIER, "original").items()
    }
    params = layouts.from_state(state, CLASSIFIER, "original", "random")
    for name, value in random_params(CLASSIFIER).items():
        assert params[name].dtype == np.float32
        np.testing.assert_array_equal(params[name], value.astype(ml_dtypes.bfloat16))
    state["head.bias"] = np.zeros(5, np.int8)
    with pytest.raises(CheckpointError, match=r"file: head\.bias is int8, not a float"):
        layouts.from_state(state, CLASSIFIER, "original", "file")


def test_faults_are_all_listed():
    state = state_of(AUTOENCODER, "original")
    del state["decoder.norm.bias"]
    state["encoder.pos_embed"] = np.zeros((1, 8, 24), np.float32)
    state["encoder.norm.bias"] = np.zeros(25, np.float32)
    with pytest.raises(CheckpointError, match=r"^file is not the state dict of: auto") as refusal:
        layouts.from_state(state, AUTOENCODER, "original", "file")
    assert str(refusal.value).splitlines()[1:] == [
        "  missing: decoder.norm.bias (16,)",
        "  unexpected: encoder.pos_embed (1, 8, 24)",
        "  misshapen: encoder.norm.bias (25,), should be (24,)",
    ]


@pytest.mark.parametrize(
    ("removed", "added", "message"),
    [
        ("", {}, "file.*none at all"),
        ("", {"layer1.weight": (1,)}, r"file.*layer1\.weight"),
        ("patch_embed", {"patch_embed.proj.weight": (24, 768)}, r"patch_embed\.proj\.weight"),
        (".0.mlp", {}, r"file.*blocks\.0\.mlp\.fc1\.weight"),
    ],
)
def test_a_state_dict_without_an_architecture_is_refused(removed, added, message):
    state = state_of(CLASSIFIER, "original")
    state = {name: value for name, value in state.items() if removed not in name}
    state |= {name: np.zeros(shape, np.float32) for name, shape in added.items()}
    with pytest.raises(CheckpointError, match=message):
        layouts.infer_architecture(*layouts.find_layout(state, "file")[::-1], HEADS, "file")


def test_heads_are_videomaes_for_its_widths_and_asked_for_otherwise():
    state = state_of(AUTOENCODER, "original")
    with pytest.raises(CheckpointError, match=r"how many heads its encoder has.*--encoder_heads"):
        layouts.infer_architecture(state, "original", {}, "file")
    with pytest.raises(CheckpointError, match=r"no decoder of width 16; give --decoder_heads"):
        layouts.infer_architecture(state, "original", {"encoder": 3}, "file")
    shallow = Architecture(TransformerConfig(384, 1, 6), (2, 16, 16), TransformerConfig(192, 1, 3))
    state = state_of(shallow, "original")
    assert layouts.infer_architecture(state, "original", {}, "file") == shallow
    assert shallow.encoder.heads == vit.SIZES["S"]["encoder"].heads
