"""The encoder's sizes and parameter counts, and its configuration from a run's config."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from tiny_models import GRID, TUBELET, clips, encoder_config, random_params

from mgm_jax.errors import ConfigError
from mgm_jax.models import vit
from mgm_jax.models.layers import TransformerConfig


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
    config = vit.SIZES[size]["encoder"]
    encoder = vit.Encoder(config, (8, 14, 14))
    clips = jax.ShapeDtypeStruct((1, 16, 224, 224, 3), jnp.float32)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), clips)
    count = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    assert count == count_by_hand(config.dim, config.depth, 1536)
    if millions is not None:
        assert count / 1e6 == pytest.approx(millions, abs=0.06)


def test_tokens_follow_the_order_of_their_ids_and_without_ids_are_all():
    encoder = vit.Encoder(encoder_config(), GRID, TUBELET)
    params = random_params(encoder, clips())
    encode = jax.jit(lambda *inputs: encoder.apply({"params": params}, *inputs))
    order = np.random.default_rng(0).permutation(12)
    permuted = encode(clips(), jnp.tile(order, (2, 1)))
    np.testing.assert_allclose(permuted, encode(clips())[:, order], atol=1e-4)
    with pytest.raises(ValueError, match=r"token grid \(2, 2, 2\).*made for \(2, 2, 3\)"):
        encode(clips()[:, :, :, :8])


def run_config(**model):
    shape = {"dim": None, "depth": None, "heads": None}
    options = {
        "size": "S",
        "tubelet": (2, 16, 16),
        "encoder": shape | {"depth": 2},
        "decoder": shape | {"dim": 64, "heads": 4},
        "dtype": "bfloat16",
        "drop_path": 0.1,
        "attention": "chunked",
        "remat": "dots",
        "scan": True,
        "backbone": "timesformer_joint",
    }
    return ConfigDict({"model": options | model, "data": {"clip_frames": 16, "size": 64}})


def test_a_runs_config_reaches_encoder_and_decoder():
    config = run_config()
    options = {"dtype": "bfloat16", "attention": "chunked", "remat": "dots", "scan": True}
    assert vit.transformer_config(config.model, "encoder") == TransformerConfig(
        384, 2, 6, drop_path=0.1, backbone="timesformer_joint", **options
    )
    assert vit.transformer_config(config.model, "decoder") == TransformerConfig(
        64, 4, 4, drop_path=0.1, **options
    )
    assert vit.token_shape(config) == ((8, 4, 4), (2, 16, 16))
    del config.model["scan"], config.model["backbone"]
    early = vit.transformer_config(config.model, "encoder")
    assert (early.scan, early.backbone) == (False, "vit")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": "XL"}, r"config\.model\.size='XL' is not one of Ti, S, B, L, H"),
        ({"encoder": {"width": 3}}, r"config\.model\.encoder\.width is not one of dim, depth"),
        ({"encoder": {"dim": 100}}, "100 does not divide into 6 heads"),
        ({"backbone": "timesformer"}, "backbone='timesformer' is not one of vit, timesformer_div"),
    ],
)
def test_unknown_values_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        vit.transformer_config(run_config(**changes).model, "encoder")
