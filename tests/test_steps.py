import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shrunk

from mgm_jax import optim, steps
from mgm_jax.data.clips import make_clip_loader
from mgm_jax.data.pipeline import ClipBatches
from mgm_jax.data.sources import FolderSource
from mgm_jax.models import mae
from mgm_jax.state import make_init_fn


@pytest.fixture(scope="module")
def parts(video_folder):
    config = shrunk.recipe("demo_pretrain", video_folder)
    loader = make_clip_loader(config.data, FolderSource(str(video_folder)))
    batches = ClipBatches(loader, global_batch=8, num_batches=2, seed=0)
    batch = next(batches)
    batches.close()
    model = mae.make_autoencoder(config.model, config.data.clip_frames, config.data.size)
    optimizer, schedule = optim.make_optimizer(config.optimizer, 10, 0, 8)
    state = make_init_fn(config, model, optimizer)()
    step_fn = jax.jit(steps.make_pretrain_step(config, model, optimizer, schedule))
    return config, model, state, step_fn, batch


def value(metrics, name):
    return float(metrics.compute()[name])


def test_a_step_is_a_pure_function_of_state_and_batch(parts):
    _, _, state, step_fn, batch = parts
    first, second = step_fn(state, batch), step_fn(state, batch)
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert int(first[0].step) == 1


def test_the_mask_changes_with_the_step(parts):
    _, _, state, step_fn, batch = parts
    losses = {value(step_fn(state.replace(step=jnp.int32(s)), batch)[1], "loss") for s in range(3)}
    assert len(losses) == 3


def test_the_order_of_clips_in_a_batch_does_not_matter(parts):
    _, _, state, step_fn, batch = parts
    shuffled = {name: rows[::-1] for name, rows in batch.items()}
    np.testing.assert_allclose(
        value(step_fn(state, batch)[1], "loss"),
        value(step_fn(state, shuffled)[1], "loss"),
        rtol=1e-6,
    )


def test_unreadable_clips_have_no_influence(parts):
    _, _, state, step_fn, batch = parts
    batch = batch | {"valid": np.arange(8) < 5}
    noise = np.random.default_rng(0).integers(0, 256, batch["luma"].shape, np.uint8)
    valid = batch["valid"][:, None, None, None]
    other = batch | {"luma": np.where(valid, batch["luma"], noise)}
    for one, two in zip(
        jax.tree.leaves(step_fn(state, batch)), jax.tree.leaves(step_fn(state, other)), strict=True
    ):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-7)


def test_a_step_that_is_not_finite_keeps_parameters_and_moments(parts):
    _, _, state, step_fn, batch = parts
    bad = batch | {"yuv_to_rgb": np.full_like(batch["yuv_to_rgb"], np.nan)}
    after, metrics = step_fn(state, bad)
    assert not np.isfinite(value(metrics, "loss"))
    for name in ("params", "opt_state"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, name), getattr(state, name))
    assert int(after.step) == 1


def test_a_few_steps_on_one_batch_lower_the_loss(parts):
    config, model, state, _, batch = parts
    optimizer, schedule = optim.make_optimizer(config.optimizer, 100, 0, 8)
    step_fn = jax.jit(steps.make_pretrain_step(config, model, optimizer, schedule))
    losses = []
    for _ in itertools.repeat(None, 12):
        state, metrics = step_fn(state, batch)
        losses.append(value(metrics, "loss"))
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("target", ["pixels", "normalised_pixels"])
def test_reconstruction_predicts_the_masked_tubelets(parts, target):
    config, model, state, _, batch = parts
    config = config.copy_and_resolve_references()
    config.target = target
    made = jax.jit(steps.make_reconstruct_fn(config, model))(state.params, batch, jax.random.key(0))
    masked = int(made["mask"][0].sum())
    assert made["clips"].shape == (8, 8, 32, 32, 3)
    assert made["predictions"].shape == (8, masked, 2 * 8 * 8 * 3)
    ids = np.flatnonzero(np.asarray(made["mask"][0]))
    np.testing.assert_array_equal(made["masked_ids"][0], ids)
