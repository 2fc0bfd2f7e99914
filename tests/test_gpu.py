"""What only an NVIDIA GPU can compute; benchmarks/gpu.sh runs these tests."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shrunk
from attention_arrays import assert_close, random_arrays, value_and_gradients

from mgm_jax.models.attention import dot_product_attention
from mgm_jax.training import tasks

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs an NVIDIA GPU"),
]


@pytest.mark.parametrize(("n", "m", "head_dim"), [(392, 392, 64), (1568, 1568, 64), (394, 394, 80)])
def test_flash_attention_of_cudnn_is_the_formula(n, m, head_dim):
    arrays = random_arrays(jnp.bfloat16, n, m, clips=2, head_dim=head_dim)
    ours, expected = (
        value_and_gradients(functools.partial(dot_product_attention, implementation=name))(*arrays)
        for name in ("cudnn", "xla")
    )
    assert_close(ours, expected, 2e-2)


@pytest.mark.parametrize("name", ["ssv2_pretrain", "transfer_finetune"])
def test_a_step_on_the_gpu_agrees_with_the_cpu(video_folder, name):
    config = shrunk.recipe(name, video_folder, model__dtype="float32")
    batch = shrunk.first_batch(config)
    losses = []
    for device in (jax.devices("gpu")[0], jax.devices("cpu")[0]):
        with jax.default_device(device):
            task = tasks.make_task(config, ("even", "odd"), total_steps=10)
            state = jax.jit(task.init_fn)()
            _, metrics = jax.jit(task.step_fn)(state, jax.device_put(batch, device))
        losses.append(float(metrics["loss"]))
    np.testing.assert_allclose(*losses, rtol=1e-3)


def test_a_step_in_bfloat16_trains(video_folder):
    config = shrunk.recipe("ssv2_pretrain", video_folder, model__dtype="bfloat16", num_steps=20)
    config.optimizer.base_lr = 1e-2
    task = tasks.make_task(config, (), total_steps=20)
    state, batch = jax.jit(task.init_fn)(), shrunk.first_batch(config)
    step_fn = jax.jit(task.step_fn)
    losses = []
    for _ in range(20):
        state, metrics = step_fn(state, batch)
        losses.append(float(metrics["loss"]))
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
