import jax
import jax.numpy as jnp
import pytest

from mgm_jax.models import flops
from mgm_jax.models.mae import MaskedAutoencoder
from mgm_jax.models.vit import AutoencoderSettings, TransformerSettings


def products_in(jaxpr):
    """Operations of all matrix products of a program, counted from their operands."""
    count = 0
    for equation in jaxpr.eqns:
        for inner in jax.core.jaxprs_in_params(equation.params):
            count += products_in(inner)
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            size = 2 * equation.outvars[0].aval.size
            for axis in contracted:
                size *= left[axis]
            count += size
    return count


@pytest.mark.parametrize("num_masked", [24, 6])
def test_the_count_is_that_of_the_programs_matrix_products(num_masked):
    settings = AutoencoderSettings(
        TransformerSettings(48, 2, 3), TransformerSettings(24, 3, 2, mlp_ratio=3.0)
    )
    model = MaskedAutoencoder(settings, grid=(2, 4, 4), tubelet=(2, 8, 8))
    inputs = (
        jax.ShapeDtypeStruct((1, 4, 32, 32, 3), jnp.float32),
        jax.ShapeDtypeStruct((1, 32 - num_masked), jnp.int32),
        jax.ShapeDtypeStruct((1, num_masked), jnp.int32),
    )
    params = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    program = jax.make_jaxpr(model.apply)(params, *inputs)
    assert products_in(program.jaxpr) == flops.autoencoder_flops(model, num_masked)


def test_the_base_model_takes_what_is_published():
    """ViT-B on 16 frames of 224x224: VideoMAE reports 180 GFLOPs, multiply-adds as one."""
    settings = TransformerSettings(768, 12, 12)
    embedding = 2 * 1568 * 768 * 1536
    assert (flops.blocks_flops(settings, 1568) + embedding) / 2e9 == pytest.approx(180, rel=0.01)
