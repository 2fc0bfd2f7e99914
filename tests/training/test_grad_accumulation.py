"""A batch in parts gives the loss, the gradient and the outputs of the batch as a whole."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import assert_close

from mgm_jax.aot import hlo
from mgm_jax.aot.collectives import find_collectives, summarise
from mgm_jax.models import classifier
from mgm_jax.models.layers import TransformerConfig
from mgm_jax.training import grad_accumulation, losses, sharding

MODEL = classifier.Classifier(TransformerConfig(16, 1, 2), (2, 2, 2), 5, (2, 4, 4))
CLIPS = 16


@functools.cache
def inputs():
    r = np.random.default_rng(0)
    rows = {
        "clips": r.random((CLIPS, 4, 8, 8, 3), np.float32),
        "targets": np.eye(5, dtype=np.float32)[r.integers(0, 5, CLIPS)],
        # Uneven over the parts.
        "weights": np.array([1, 0, 0, 1, 0.5] + [1] * 11, np.float32),
    }
    shapes = jax.eval_shape(MODEL.init, jax.random.key(0), rows["clips"])["params"]
    params = jax.tree.map(lambda s: (0.3 * r.standard_normal(s.shape)).astype(np.float32), shapes)
    return params, rows


def loss_fn(params, rows, key):
    del key
    logits = MODEL.apply({"params": params}, rows["clips"])
    return losses.soft_cross_entropy(logits, rows["targets"], rows["weights"]), logits


@functools.partial(jax.jit, static_argnums=2)
def compute(params, rows, num_parts):
    return grad_accumulation.value_and_grad(
        loss_fn, params, rows, rows["weights"], jax.random.key(0), num_parts
    )


def test_parts_add_up_to_the_batch():
    assert_close(compute(*inputs(), 4), compute(*inputs(), 1))


def on_mesh(axis_sizes, num_parts):
    """The result over devices, and the bytes reduced along `data`."""
    params, rows = inputs()
    mesh = sharding.make_mesh(axis_sizes)
    rows = sharding.global_batch(sharding.batch_sharding(mesh), rows)
    params = jax.device_put(params, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
    function = jax.jit(
        sharding.on_mesh(lambda params, rows: compute(params, rows, num_parts), mesh)
    )
    compiled = function.lower(params, rows).compile()
    for movement in ("all-to-all", "collective-permute", "all-gather"):
        assert movement not in compiled.as_text()
    found = find_collectives(hlo.parse(compiled.as_text()), mesh.shape)
    totals = summarise(found).items()
    reduced = sum(num_bytes for (_, along), (_, num_bytes, _) in totals if "data" in along)
    return compiled(params, rows), reduced


def test_parts_are_spread_over_the_devices_and_nothing_moves():
    result, _ = on_mesh({"data": 4, "fsdp": 2, "tensor": 1}, 2)
    assert_close(result, compute(*inputs(), 1))


def test_gradients_are_reduced_once_whatever_the_number_of_parts():
    axis_sizes = {"data": 4, "fsdp": 1, "tensor": 2}
    (result, reduced), (_, in_two) = on_mesh(axis_sizes, 4), on_mesh(axis_sizes, 2)
    assert_close(result, compute(*inputs(), 1))
    num_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(inputs()[0]))
    assert num_bytes <= reduced < 1.1 * num_bytes
    assert reduced == in_two


def test_a_part_without_a_clip_that_counts_adds_nothing():
    params, rows = inputs()
    rows = rows | {"weights": (np.arange(CLIPS) % 2).astype(np.float32)}
    assert_close(compute(params, rows, 2), compute(params, rows, 1))
    nothing = compute(params, rows | {"weights": np.zeros(CLIPS, np.float32)}, 2)
    assert float(nothing[0][0]) == 0.0
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(nothing[1]))


@pytest.mark.parametrize("num_parts", [1, 4])
def test_every_part_has_its_own_key(num_parts):
    def noisy(params, rows, key):
        noise = jax.random.normal(key, rows.shape)
        return params * noise.mean(), noise

    (_, noise), _ = grad_accumulation.value_and_grad(
        noisy, jnp.float32(1.0), jnp.zeros(8), jnp.ones(8), jax.random.key(0), num_parts
    )
    assert len(np.unique(noise)) == 8
