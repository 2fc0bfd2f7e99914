import itertools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shrunk
from jax.sharding import PartitionSpec

from mgm_jax.aot.check import abstract_batch
from mgm_jax.aot.collectives import find_collectives
from mgm_jax.aot.hlo import parse
from mgm_jax.errors import ConfigError
from mgm_jax.models import patches as patches_lib
from mgm_jax.preprocessing import rgb
from mgm_jax.training import losses, pretrain_step, sharding, tasks
from mgm_jax.training.state import abstract_state
from mgm_jax.training.tasks import jit_step

MESHES = [
    {"data": data, "fsdp": fsdp, "tensor": 8 // (data * fsdp)}
    for data in (1, 2, 4, 8)
    for fsdp in (1, 2, 4, 8)
    if data * fsdp <= 8
]
# Each axis divides every dimension that it may split, so that nothing stays whole.
DIVISIBLE = {
    "model__encoder__dim": 32,
    "model__encoder__depth": 1,
    "model__encoder__heads": 8,
    "model__decoder__dim": 16,
    "model__decoder__heads": 8,
    "data__clip_frames": 4,
    "data__size": 16,
}


def tpu_chip(number, place):
    facts = {"id": number, "coords": place, "core_on_chip": 0, "process_index": 0}
    kind = {"platform": "tpu", "device_kind": "TPU v4"}
    return mock.NonCallableMock(spec=jax.Device, **facts, **kind)


def test_each_host_reads_the_rows_of_its_devices():
    mesh = sharding.make_mesh({"data": 4, "fsdp": 2, "tensor": 1})
    assert sharding.host_rows(mesh, 16, 0) == list(range(16))
    places = list(itertools.product(range(4), range(4), range(1)))
    chips = [tpu_chip(number, place) for number, place in enumerate(places)]
    for chip, (x, y, _) in zip(chips, places, strict=True):
        chip.process_index = 2 * (x // 2) + y // 2  # Hosts of 2x2 chips.
    torus = sharding.make_mesh({"data": -1, "fsdp": 1, "tensor": 1}, chips)
    rows = [sharding.host_rows(torus, 32, host) for host in range(4)]
    assert sorted(itertools.chain(*rows)) == list(range(32))
    assert {len(own) for own in rows} == {8}
    assert rows != [list(range(8 * host, 8 * host + 8)) for host in range(4)]
    for host, own in enumerate(rows):
        assert {torus.devices[row // 2, 0, 0].process_index for row in own} == {host}


def test_an_axis_may_be_longer_than_a_side_of_the_torus():
    places = itertools.product(range(4), repeat=3)
    chips = [tpu_chip(number, place) for number, place in enumerate(places)]
    mesh = sharding.make_mesh({"data": -1, "fsdp": 8, "tensor": 1}, chips)
    assert dict(mesh.shape) == {"data": 8, "fsdp": 8, "tensor": 1}
    extents = np.ptp([chip.coords for chip in mesh.devices[0, :, 0]], axis=0)
    assert sorted(extents) == [0, 1, 3]


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
    for size, parts, cure in ((20, 1, "16 or 24"), (3, 1, "8"), (16, 3, "24")):
        with pytest.raises(ConfigError, match=rf"batch_size={size} .* use {cure}$"):
            sharding.check_batch(mesh, size, grad_accum_steps=parts)


def test_rules_apply_in_order_and_pass_over_what_does_not_divide():
    mesh = sharding.make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    for name, shape, spec in (
        ("attention/qkv/kernel", (8, 3, 3, 4), ("fsdp", None, None, None)),
        ("mlp/fc1/kernel", (8, 16), ("fsdp", "tensor")),
        ("encoder/embed/kernel", (24, 8), (None, "fsdp")),
        ("norm/scale", (8,), ()),
        ("odd/kernel", (7, 8), (None, None)),
    ):
        place = sharding.state_sharding(mesh, {name: jnp.zeros(shape)})[name]
        assert place.spec == PartitionSpec(*spec)


def test_global_batch_is_split_over_data_and_fsdp():
    mesh = sharding.make_mesh({"data": 4, "fsdp": 2, "tensor": 1})
    rows = np.arange(16 * 3).reshape(16, 3)
    batch = sharding.global_batch(sharding.batch_sharding(mesh), {"x": rows})
    np.testing.assert_array_equal(batch["x"], rows)
    assert {shard.data.shape for shard in batch["x"].addressable_shards} == {(2, 3)}


@pytest.fixture(scope="module")
def batch(video_folder):
    return shrunk.first_batch(shrunk.recipe("demo_pretrain", video_folder, **DIVISIBLE))


def make_task(name, videos):
    divisible = {k: v for k, v in DIVISIBLE.items() if "decoder" not in k or "pretrain" in name}
    config = shrunk.recipe(name, videos, **divisible)
    return config, tasks.make_task(config, ("a", "b"), total_steps=10)


def some_state(init_fn):
    """A state of random numbers, made without compiling anything."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: (
            (0.2 * rng.standard_normal(leaf.shape)).astype(leaf.dtype)
            if jnp.issubdtype(leaf.dtype, jnp.floating)
            else np.ones(leaf.shape, leaf.dtype)
        ),
        jax.eval_shape(init_fn),
    )


@pytest.mark.slow
def test_every_mesh_computes_what_one_device_does(batch, video_folder):
    """The pretraining loss with its gradients, and a classifier's logits."""
    config, pretrain = make_task("demo_pretrain", video_folder)
    _, finetune = make_task("demo_finetune", video_folder)
    mask_fn = jax.jit(pretrain_step.make_guided_mask_fn(config, pretrain.model.grid))
    mask = np.asarray(mask_fn(batch, jax.random.key(0))).reshape(8, -1)
    clips = np.asarray(rgb.batch_to_rgb(jax.device_put(batch), size=config.data.size))
    ids = np.argsort(mask, axis=1, kind="stable").astype(np.int32)
    visible = mask.shape[1] - int(mask[0].sum())

    def compute(params, classifier, clips, visible_ids, masked_ids):
        def loss_fn(params):
            inputs = rgb.normalise(clips)
            made = pretrain.model.apply({"params": params}, inputs, visible_ids, masked_ids)
            patches = patches_lib.patchify(clips, (2, 8, 8))
            targets = losses.pixel_target(patches_lib.gather_tokens(patches, masked_ids))
            return losses.masked_mse(made, targets, jnp.ones(8, bool))

        logits = finetune.model.apply({"params": classifier}, clips)
        return jax.value_and_grad(loss_fn)(params), logits

    params = [some_state(task.init_fn).params for task in (pretrain, finetune)]
    inputs = (*params, clips, ids[:, :visible], ids[:, visible:])
    expected = jax.jit(compute)(*inputs)
    for sizes in MESHES:
        mesh = sharding.make_mesh(sizes)
        rows = sharding.batch_sharding(mesh)
        places = (*(sharding.state_sharding(mesh, tree) for tree in params), rows, rows, rows)
        (loss, gradients), logits = jax.jit(compute, in_shardings=places)(*inputs)
        np.testing.assert_allclose(loss, expected[0][0], rtol=2e-5, err_msg=str(sizes))
        np.testing.assert_allclose(logits, expected[1], rtol=1e-4, atol=1e-5)
        jax.tree.map(
            lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4),
            gradients,
            expected[0][1],
        )


@pytest.mark.slow
def test_blocks_of_fsdp_exchange_parameters_and_not_tokens(video_folder):
    changes = DIVISIBLE | {"model__encoder__depth": 3, "data__size": 32}
    config = shrunk.recipe("demo_pretrain", video_folder, **changes)
    task = tasks.make_task(config, (), total_steps=10)
    mesh = sharding.make_mesh({"data": 1, "fsdp": 8, "tensor": 1})
    state = abstract_state(task.init_fn, mesh)
    places = jax.tree.map(lambda leaf: leaf.sharding, state)
    config.batch_size = 8
    step = jit_step(task, mesh, places).lower(state, abstract_batch(config, mesh)).compile()
    sent = sum(
        collective.times * collective.num_bytes
        for collective in find_collectives(parse(step.as_text()), mesh.shape)
        if collective.kind == "all-reduce"
    )
    assert sent < 1.1 * sum(4 * leaf.size for leaf in jax.tree.leaves(state.params))
