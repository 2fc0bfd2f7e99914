import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from mgm_jax import sharding
from mgm_jax.errors import ConfigError


def test_the_rest_axis_takes_the_remaining_devices():
    mesh = sharding.make_mesh({"data": -1, "fsdp": 2, "tensor": 2})
    assert dict(mesh.shape) == {"data": jax.device_count() // 4, "fsdp": 2, "tensor": 2}


@pytest.mark.parametrize(
    "sizes",
    [
        {"data": 3, "fsdp": 1, "tensor": 1},
        {"data": -1, "fsdp": 3, "tensor": 1},
        {"data": -1, "fsdp": -1, "tensor": 1},
        {"data": 0, "fsdp": 1, "tensor": 1},
    ],
)
def test_sizes_that_do_not_fit_the_devices_are_refused(sizes):
    with pytest.raises(ConfigError, match=r"config\.mesh"):
        sharding.make_mesh(sizes)


def test_a_batch_that_does_not_split_is_refused_with_sizes_that_do():
    mesh = sharding.make_mesh({"data": 4, "fsdp": 2, "tensor": 1})
    sharding.check_batch(mesh, 16)
    with pytest.raises(ConfigError, match=r"batch_size=20 .* use 16 or 24"):
        sharding.check_batch(mesh, 20)
    with pytest.raises(ConfigError, match=r"use 8$"):
        sharding.check_batch(mesh, 3)
    with pytest.raises(ConfigError, match=r"8 shards .* in 3 parts each; use 24$"):
        sharding.check_batch(mesh, 16, accumulate_steps=3)


def test_rules_apply_in_order_and_pass_over_what_does_not_divide():
    mesh = sharding.make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    tree = {
        "attention": {"qkv": {"kernel": jnp.zeros((8, 3, 3, 4))}, "q_bias": jnp.zeros((4, 2))},
        "mlp": {"fc1": {"kernel": jnp.zeros((8, 16)), "bias": jnp.zeros(16)}},
        "norm": {"scale": jnp.zeros(8)},
        "odd": {"kernel": jnp.zeros((7, 8))},
    }
    specs = jax.tree.map(lambda leaf: leaf.spec, sharding.state_sharding(mesh, tree))
    assert specs["attention"]["qkv"]["kernel"] == PartitionSpec("fsdp", None, None, None)
    assert specs["attention"]["q_bias"] == PartitionSpec("tensor", None)
    assert specs["mlp"]["fc1"]["kernel"] == PartitionSpec("fsdp", "tensor")
    assert specs["mlp"]["fc1"]["bias"] == PartitionSpec("tensor")
    assert specs["norm"]["scale"] == PartitionSpec()
    assert specs["odd"]["kernel"] == PartitionSpec(None, None)


def test_global_batch_is_split_over_data_and_fsdp():
    mesh = sharding.make_mesh({"data": 4, "fsdp": 2, "tensor": 1})
    rows = np.arange(16 * 3).reshape(16, 3)
    batch = sharding.global_batch(sharding.batch_sharding(mesh), {"x": rows})
    np.testing.assert_array_equal(batch["x"], rows)
    assert {shard.data.shape for shard in batch["x"].addressable_shards} == {(2, 3)}
