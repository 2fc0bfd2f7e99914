"""The encoder's sizes and parameter counts, and its configuration from a run's config."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shrunk
from ml_collections import ConfigDict
from tiny_models import GRID, TUBELET, clips, encoder_config

from mgm_jax.errors import ConfigError
from mgm_jax.models import vit
from mgm_jax.models.layers import TransformerConfig


@pytest.mark.parametrize(
    ("size", "millions"), [("S", 21.9), ("B", 86.2), ("L", 303.9), ("H", 631.6)]
)
def test_parameter_count(size, millions):
    config = dataclasses.replace(vit.SIZES[size]["encoder"], scan=True)
    encoder = vit.Encoder(config, (8, 14, 14))
    clips = jax.ShapeDtypeStruct((1, 16, 224, 224, 3), jnp.float32)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), clips)
    count = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    assert count / 1e6 == pytest.approx(millions, abs=0.06)


def test_clips_of_another_token_grid_are_refused():
    encoder = vit.Encoder(encoder_config(), GRID, TUBELET)
    with pytest.raises(ValueError, match=r"token grid \(2, 2, 2\).*made for \(2, 2, 3\)"):
        encoder.init(jax.random.key(0), clips()[:, :, :, :8])


def test_a_runs_config_reaches_encoder_and_decoder():
    options = {"dtype": "bfloat16", "attention": "chunked", "remat": "dots", "scan": True}
    model = shrunk.recipe("k400_pretrain", "unused").model
    model.update(options | {"size": "S", "drop_path": 0.1, "backbone": "timesformer_joint"})
    model.decoder.update({"dim": 64, "depth": 4, "heads": 4})
    assert vit.transformer_config(model, "encoder") == TransformerConfig(
        384, 2, 6, drop_path=0.1, backbone="timesformer_joint", **options
    )
    assert vit.transformer_config(model, "decoder") == TransformerConfig(
        64, 4, 4, drop_path=0.1, **options
    )
    del model["scan"], model["backbone"]
    early = vit.transformer_config(model, "encoder")
    assert (early.scan, early.backbone) == (False, "vit")


def test_unknown_sizes_and_shapes_are_refused_by_name():
    model = shrunk.recipe("k400_pretrain", "unused").model
    model.encoder = ConfigDict({"width": 3})
    with pytest.raises(ConfigError, match=r"config\.model\.encoder\.width.*dim, depth"):
        vit.transformer_config(model, "encoder")
    model.size = "XL"
    with pytest.raises(ConfigError, match=r"config\.model\.size='XL'.*Ti, S, B, L, H"):
        vit.transformer_config(model, "encoder")
