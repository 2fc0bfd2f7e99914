"""What must hold of any masked autoencoder; `test_parity` compares its numbers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import GRID, TUBELET, autoencoder, clips, ids, random_params

from mgm_jax.bounds import CHOICES
from mgm_jax.models import patches as patches_lib
from mgm_jax.models.layers import TransformerConfig
from mgm_jax.training import losses


def make(**options):
    """A model, a function that makes its predictions, and its parameters."""
    model = autoencoder(**options)
    return model, jax.jit(model.apply), {"params": random_params(model, clips(), *ids())}


def test_predictions_follow_the_order_of_the_masked_ids_alone():
    _, predict, variables = make()
    visible, masked = ids()
    order = np.random.default_rng(1).permutation(8)
    predictions = predict(variables, clips(), visible, masked)
    permuted = predict(variables, clips(), visible[:, ::-1], masked[:, order])
    np.testing.assert_allclose(permuted, predictions[:, order], atol=1e-4)


@pytest.mark.parametrize("backbone", CHOICES["model.backbone"])
def test_masked_pixels_have_no_influence(backbone):
    _, predict, variables = make(backbone=backbone)
    visible, masked = ids()
    hidden, sides = np.array(clips()), np.array(TUBELET)
    for i, tokens in enumerate(masked):
        for start in np.transpose(np.unravel_index(tokens, GRID)) * sides:
            hidden[i][tuple(map(slice, start, start + sides))] = np.nan
    made, expected = (
        predict(variables, x, visible, masked) for x in (jnp.asarray(hidden), clips())
    )
    np.testing.assert_array_equal(made, expected)


def test_bfloat16_is_close_to_float32():
    _, predict, variables = make()
    narrow, predict_narrow, _ = make(dtype="bfloat16")
    expected = np.asarray(predict(variables, clips(), *ids()))
    actual = predict_narrow(variables, clips(), *ids())
    assert actual.dtype == jnp.bfloat16
    error = np.asarray(actual.astype(jnp.float32)) - expected
    assert np.sqrt((error**2).mean()) < 0.02 * np.sqrt((expected**2).mean())
    params = jax.eval_shape(narrow.init, jax.random.key(0), clips(), *ids())
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("backbone", "dtype"), [("vit", "bfloat16"), ("timesformer_divided", "float32")]
)
def test_every_parameter_has_a_finite_gradient(backbone, dtype):
    model, _, variables = make(backbone=backbone, dtype=dtype)
    patches = patches_lib.patchify(clips(), TUBELET)
    target = losses.pixel_target(patches_lib.gather_tokens(patches, ids()[1]))

    def loss(variables):
        predictions = model.apply(variables, clips(), *ids(), True)
        return losses.masked_mse(predictions, target, jnp.ones(2))

    for path, value in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(variables)):
        assert np.all(np.isfinite(value)), path
        assert np.any(np.asarray(value) != 0), path
        assert value.dtype == jnp.float32


def test_what_is_no_linear_layer_of_a_block_starts_as_in_videomae():
    """Its convolution and `encoder_to_decoder` keep PyTorch's uniform ±1/√fan_in."""
    wide = TransformerConfig(768, 1, 2)
    model = dataclasses.replace(autoencoder(), decoder_config=wide)
    params = jax.jit(model.init)(jax.random.key(0), clips(), *ids())["params"]
    token = np.asarray(params["mask_token"])
    assert token.shape == (768,)
    assert 0.019 < np.abs(token).max() <= 0.02  # Within one deviation.
    assert abs(token.mean()) < 0.002
    patch_dim, dim = params["encoder"]["embed"]["kernel"].shape
    drawn = [
        (params["encoder"]["embed"]["kernel"], patch_dim),
        (params["encoder"]["embed"]["bias"], patch_dim),
        (params["encoder_to_decoder"]["kernel"], dim),
    ]
    for values, fan_in in drawn:
        assert 0.9 < np.abs(values).max() * fan_in**0.5 <= 1
