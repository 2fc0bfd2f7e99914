import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import shrunk

from mgm_jax.aot import check
from mgm_jax.preprocessing import rgb
from mgm_jax.training import detect_step, sharding
from mgm_jax.training.state import TrainState


def test_the_loss_is_a_mean_over_the_boxes_that_count():
    logits, actions = jnp.array([[[0.0, 0.0], [50.0, 50.0]]]), jnp.zeros((1, 2, 2))
    counted, loss = jnp.array([[True, False]]), detect_step.binary_cross_entropy
    assert float(loss(logits, actions, counted)) == pytest.approx(np.log(2))
    assert float(loss(logits, actions, ~counted)) == pytest.approx(50)
    assert float(loss(logits, actions, counted & False)) == 0


def test_a_step_trains_on_jittered_colours_and_weighs_parts_by_their_boxes(monkeypatch):
    jitters, modes = [], []

    class Light(nn.Module):
        """Scores the boxes of a clip by its brightness."""

        @nn.compact
        def __call__(self, clips, boxes, train=False):
            modes.append(train)
            light = clips.mean(axis=(1, 2, 3, 4))[:, None, None]
            scale = self.param("scale", nn.initializers.ones, ())
            return scale * light * jnp.ones((*boxes.shape[:2], 5))

    def jitter(keys, clips, amounts):
        jitters.append((len(keys), amounts))
        return clips * 0.5

    monkeypatch.setattr(detect_step.colour_jitter, "colour_jitter", jitter)
    config = shrunk.recipe("demo_detect", "unused", batch_size=4)
    config.augment.colour_jitter = (20.0, 0.1, 0.2)
    shapes = check.abstract_batch(
        config, sharding.make_mesh({"data": 4, "fsdp": 2, "tensor": 1}), 5
    )
    r = np.random.default_rng(0)
    batch = {name: jnp.zeros(leaf.shape, leaf.dtype) for name, leaf in shapes.items()}
    batch["yuv_to_rgb"] = jnp.asarray(r.random(batch["yuv_to_rgb"].shape), jnp.float32)
    batch["crop_box"] += jnp.array([0.0, 0.0, 64.0, 64.0])
    batch |= {"valid": jnp.ones(4, bool), "index": jnp.arange(4, dtype=jnp.uint32)}
    most = config.data.max_boxes
    batch["box_valid"] = jnp.arange(most) < jnp.array([[most], [1], [1], [0]])
    found = []
    for parts in (1, 2):
        config.grad_accum_steps = parts
        optimizer = optax.sgd(1.0)
        params = {"scale": jnp.float32(0.3)}
        key = jax.random.key_data(jax.random.key(0))
        state = TrainState(jnp.int32(0), params, {}, optimizer.init(params), key)
        schedule = optax.constant_schedule(1.0)
        step_fn = detect_step.make_detect_step(config, Light(), optimizer, schedule)
        after, metrics = jax.jit(step_fn)(state, batch)
        found.append((float(metrics["loss"]), float(after.params["scale"])))
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    clips = rgb.normalise(0.5 * rgb.batch_to_rgb(batch, size=config.data.size))
    logits = 0.3 * clips.mean(axis=(1, 2, 3, 4))[:, None, None] * jnp.ones((4, most, 5))
    expected = detect_step.binary_cross_entropy(logits, batch["actions"], batch["box_valid"])
    assert found[0][0] == pytest.approx(float(expected), rel=1e-5)
    assert all(modes)
    assert jitters == [(4, (20.0, 0.1, 0.2))] * 2
