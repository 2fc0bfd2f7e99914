"""Attention maps against weights computed by hand from a block's input."""

import functools

import jax
import numpy as np
import pytest
from tiny_models import GRID, classifier_of, clips, random_params

from mgm_jax.errors import ConfigError
from mgm_jax.pictures import attention_maps

DIM, QUERY, QUERY_ID = 16, (1, 0, 2), 8


@functools.cache
def random_classifier(backbone):
    model = classifier_of(backbone=backbone)
    # Large, so that attention is far from uniform.
    return model, jax.tree.map(lambda leaf: 1.5 * leaf, random_params(model, clips()))


def maps(model, params, block):
    return jax.jit(attention_maps.make_attention_fn(model, QUERY, block))(params, clips())


def weights_by_hand(params, tokens, query):
    """Of one attention layer, from its normalised input [n, d]: [n], averaged over the heads."""
    qkv = np.einsum("nd,dchk->cnhk", tokens, params["qkv"]["kernel"])
    q, k = qkv[0] + params["q_bias"], qkv[1]
    scores = np.einsum("hk,nhk->hn", q[query], k) / np.sqrt(DIM // 2)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)).mean(0)


def inputs_of_attention(backbone, block, norm):
    model, params = random_classifier(backbone)
    _, captured = jax.jit(
        lambda params: model.apply(
            {"params": params},
            clips(),
            capture_intermediates=lambda module, _: module.name == norm,
        )
    )(params)
    captured = captured["intermediates"]["encoder"]["blocks"][str(block)][norm]["__call__"][0]
    params = jax.tree.map(np.asarray, params["encoder"]["blocks"][str(block)])
    return np.asarray(captured), params


@pytest.mark.parametrize("block", [-1, 0])
def test_joint_attention_of_the_chosen_block(block):
    found = maps(*random_classifier("vit"), block)
    tokens, params = inputs_of_attention("vit", block % 2, "norm1")
    assert found.shape == (2, *GRID)
    for clip in range(2):
        expected = weights_by_hand(params["attention"], tokens[clip], QUERY_ID)
        np.testing.assert_allclose(found[clip].ravel(), expected, rtol=1e-4, atol=1e-6)
    assert float(found.std()) > 0.01


def test_divided_attention_is_over_space_of_what_was_attended_over_time():
    found = maps(*random_classifier("timesformer_divided"), -1)
    over_time, params = inputs_of_attention("timesformer_divided", 1, "temporal_norm")
    over_space, _ = inputs_of_attention("timesformer_divided", 1, "norm1")
    step, place = QUERY[0], QUERY[1] * 3 + QUERY[2]
    for clip in range(2):
        tokens = over_space[clip].reshape(2, 6, DIM)[step]
        space = weights_by_hand(params["attention"], tokens, place)
        expected = np.zeros((2, 6))
        for other in range(6):
            tokens = over_time[clip].reshape(2, 6, DIM)[:, other]
            time = weights_by_hand(params["temporal_attention"], tokens, step)
            expected[:, other] = space[other] * time
        np.testing.assert_allclose(found[clip].reshape(2, 6), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=(1, 2, 3)), 1, rtol=1e-5)


def test_the_query_is_the_centre_by_default_and_others_are_checked():
    assert attention_maps.parse_query(["centre"], (8, 14, 14)) == (4, 7, 7)
    with pytest.raises(ConfigError, match=r"--attention=0,2,0: .* 2 rows and 3 columns"):
        attention_maps.parse_query(["0", "2", "0"], GRID)
    for parts in (["1", "2"], ["1", "a", "0"]):
        with pytest.raises(ConfigError, match="TUBELET,ROW,COLUMN"):
            attention_maps.parse_query(parts, GRID)
    with pytest.raises(ConfigError, match=r"--block=2: .* -2 to 1"):
        attention_maps.make_attention_fn(random_classifier("vit")[0], QUERY, 2)
