import jax
import jax.numpy as jnp
import pytest
from jax.extend.core import Primitive

from mgm_jax.aot.chips import GPUS
from mgm_jax.aot.flops import count_flops


def test_products_loops_and_convolutions_are_counted():
    x, w = jnp.zeros((8, 16)), jnp.zeros((3, 16, 16))

    def chain(x, w):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0]

    once = 2 * 8 * 16 * 16
    assert count_flops(chain, x, w) == (3 * once, 3 * once)
    with_gradient = jax.grad(lambda w: chain(x, w).sum())
    # Forward, and twice as much backward; the first layer's input has no gradient in need.
    assert 8 * once <= count_flops(with_gradient, w)[0] <= 9 * once
    again = jax.grad(lambda w: jax.checkpoint(chain)(x, w).sum())
    assert count_flops(again, w)[0] > count_flops(with_gradient, w)[0] + 2 * once

    images, kernel = jnp.zeros((2, 3, 9, 9)), jnp.zeros((5, 3, 3, 3))
    convolve = lambda a, b: jax.lax.conv(a, b, (1, 1), "SAME")  # noqa: E731
    assert count_flops(convolve, images, kernel)[0] == 2 * (2 * 5 * 9 * 9) * 27


def test_the_highest_precision_takes_six_passes_and_unknown_loops_are_refused():
    x = jnp.zeros((4, 4))
    assert count_flops(lambda x: jnp.dot(x, x, precision="highest"), x) == (128, 6 * 128)
    with pytest.raises(ValueError, match="loop of unknown length"):
        count_flops(lambda x: jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x @ x, x), x)


def test_a_gpu_multiplies_float32_in_tf32_or_outside_of_its_tensor_cores():
    x = jnp.zeros((4, 4))
    h100 = GPUS["h100"]
    assert count_flops(lambda x: x @ x, x, chip=h100) == (128, 2 * 128)
    assert count_flops(lambda x: jnp.dot(x, x, precision="highest"), x, chip=h100)[1] == 15 * 128
    assert count_flops(lambda x: x @ x, x.astype(jnp.bfloat16), chip=h100) == (128, 128)

    def choose(x):
        return jax.lax.platform_dependent(x, tpu=lambda x: x @ x, default=lambda x: x + 1)

    assert count_flops(choose, x, chip=h100) == (0, 0)
    assert count_flops(choose, x) == (0, 128)


@pytest.mark.parametrize(("kind", "products"), [("fwd", 2), ("bwd", 5)])
def test_the_products_inside_cudnns_attention_are_counted(kind, products):
    # Without cuDNN, JAX does not trace its calls.
    call = Primitive(f"dot_product_attention_{kind}_wrapper")
    call.def_abstract_eval(lambda query, key, value: query)
    query, key = jnp.zeros((2, 16, 3, 8), jnp.bfloat16), jnp.zeros((2, 32, 3, 8), jnp.bfloat16)
    one_product = 2 * (2 * 3 * 16 * 32) * 8
    found = count_flops(lambda q, k: call.bind(q, k, k), query, key, chip=GPUS["h100"])
    assert found == (products * one_product, products * one_product)
