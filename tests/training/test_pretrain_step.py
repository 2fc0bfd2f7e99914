import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shrunk
from tiny_models import assert_close

from mgm_jax import io
from mgm_jax.data.clips import LoadClip
from mgm_jax.data.loader import HOST_FIELDS
from mgm_jax.data.sources import FolderSource
from mgm_jax.errors import CheckpointError
from mgm_jax.flow import raft
from mgm_jax.flow.weights import load_weights
from mgm_jax.masking import motion_maps
from mgm_jax.models import patches
from mgm_jax.preprocessing import rgb
from mgm_jax.training import pretrain_step, tasks
from tests.flow import make_reference


@pytest.fixture(scope="module")
def parts(video_folder):
    config = shrunk.recipe("demo_pretrain", video_folder, model__encoder__depth=1)
    task = tasks.make_task(config, (), total_steps=10)
    batch = shrunk.first_batch(config)
    return config, task.model, jax.jit(task.init_fn)(), jax.jit(task.step_fn), batch


def loss_of(state, step_fn, batch):
    return float(step_fn(state, batch)[1]["loss"])


def test_the_mask_changes_with_the_step(parts):
    _, _, state, step_fn, batch = parts
    losses = {loss_of(state.replace(step=jnp.int32(s)), step_fn, batch) for s in range(3)}
    assert len(losses) == 3


@pytest.mark.parametrize("normalise", [False, True])
def test_the_target_is_that_of_the_config(normalise, parts, monkeypatch):
    seen, pixel_target = [], pretrain_step.losses.pixel_target

    def record(patches, *given):
        seen.append(given)
        return pixel_target(patches, *given)

    monkeypatch.setattr(pretrain_step.losses, "pixel_target", record)
    *_, batch = parts
    config = shrunk.recipe("demo_pretrain", "unused", norm_pix_loss=normalise, norm_pix_eps=0.1)
    task = tasks.make_task(config, (), total_steps=10)
    jax.eval_shape(task.step_fn, jax.eval_shape(task.init_fn), batch)
    assert seen == [(normalise, 0.1)]


def test_the_order_of_clips_in_a_batch_does_not_matter(parts):
    _, _, state, step_fn, batch = parts
    shuffled = {name: rows[::-1] for name, rows in batch.items()}
    expected = loss_of(state, step_fn, batch)
    np.testing.assert_allclose(loss_of(state, step_fn, shuffled), expected, rtol=1e-6)


def test_unreadable_clips_have_no_influence(parts):
    _, _, state, step_fn, batch = parts
    batch = batch | {"valid": np.arange(8) < 5}
    noise = np.random.default_rng(0).integers(0, 256, batch["luma"].shape, np.uint8)
    valid = batch["valid"][:, None, None, None]
    other = batch | {"luma": np.where(valid, batch["luma"], noise)}
    assert_close(step_fn(state, other), step_fn(state, batch), rtol=1e-5, atol=1e-7)


def test_a_step_that_is_not_finite_keeps_parameters_and_moments(parts):
    _, _, state, step_fn, batch = parts
    bad = batch | {"yuv_to_rgb": np.full_like(batch["yuv_to_rgb"], np.nan)}
    after, metrics = step_fn(state, bad)
    assert not np.isfinite(metrics["loss"])
    adam, _, schedule = after.opt_state
    jax.tree.map(
        np.testing.assert_array_equal, (after.params, adam), (state.params, state.opt_state[0])
    )
    assert int(after.step) == int(schedule.count) == 1  # So the learning rate is as logged.


def test_the_batch_may_be_computed_in_parts(parts):
    config, _, state, step_fn, batch = parts
    batch = batch | {"valid": np.arange(8) != 3}
    config = config.copy_and_resolve_references()
    config.grad_accum_steps = 4
    in_parts = jax.jit(tasks.make_task(config, (), total_steps=10).step_fn)
    state = state.replace(step=jnp.int32(3))
    assert_close(in_parts(state, batch), step_fn(state, batch))


@pytest.mark.parametrize("norm_pix_loss", [False, True])
def test_reconstruction_predicts_the_masked_tubelets(parts, norm_pix_loss):
    config, model, state, _, batch = parts
    config = config.copy_and_resolve_references()
    config.norm_pix_loss = norm_pix_loss
    made = jax.jit(pretrain_step.make_reconstruct_fn(config, model))(
        state.params, batch, jax.random.key(0)
    )
    masked = int(made["mask"][0].sum())
    assert made["clips"].shape == (8, 8, 32, 32, 3)
    assert made["predictions"].shape == (8, masked, 3, 2 * 8 * 8)
    ids = np.flatnonzero(np.asarray(made["mask"][0]))
    np.testing.assert_array_equal(made["masked_ids"][0], ids)


def test_pictures_of_a_model_with_a_kernel_of_its_own_need_no_mesh(parts):
    config, model, state, _, batch = parts
    configs = {name: getattr(model, name) for name in ("encoder_config", "decoder_config")}
    splash = {n: dataclasses.replace(c, attention="splash") for n, c in configs.items()}
    made = pretrain_step.make_reconstruct_fn(config, model.clone(**splash))
    shapes = jax.eval_shape(made, state.params, batch, jax.random.key(0))
    assert shapes["predictions"].shape[0] == 8


@pytest.mark.slow
def test_raft_on_the_device_gives_the_masks_their_motion(video_folder, tmp_path):
    """The weights are random; what they make of a clip is what its mask follows."""
    shapes = json.loads(make_reference.FILE.read_text())["shapes"]
    weights = tmp_path / "raft.npz"
    io.write_arrays(weights, make_reference.make_weights(shapes))
    config = shrunk.recipe(
        "demo_pretrain",
        video_folder,
        data__motion="raft",
        data__flow_weights=str(weights),
        data__clip_frames=4,
        data__size=64,
    )
    loader = LoadClip.from_config(config.data, FolderSource(str(video_folder)))
    clip = loader.random_map((0, 0), np.random.default_rng(0))
    assert not clip["motion_valid"].any()
    batch = {name: rows for name, rows in clip.items() if name not in HOST_FIELDS}
    mask_fn = jax.jit(pretrain_step.make_guided_mask_fn(config, (2, 8, 8)))
    mask = mask_fn(batch, jax.random.key(0))
    clips = rgb.batch_to_rgb(jax.device_put(batch), size=64)
    vectors, valid = raft.flow_motion(load_weights(weights), clips)
    magnitude = motion_maps.magnitude_per_tubelet(vectors, valid, 2)
    row, column = np.unravel_index(magnitude[0, 1].argmax(), (8, 8))
    assert mask.sum() == 2 * 48
    assert mask[0, 1, row, column]


def test_raft_without_weights_says_where_to_get_them(video_folder, tmp_path):
    config = shrunk.recipe(
        "demo_pretrain", video_folder, data__motion="raft", data__flow_weights=str(tmp_path / "no")
    )
    with pytest.raises(CheckpointError, match=r"(?s)no RAFT-Small weights.*savez"):
        pretrain_step.make_guided_mask_fn(config, (4, 4, 4))


def test_the_loss_of_normalised_targets_is_that_of_the_steps_own_reconstruction(parts):
    _, _, state, _, batch = parts
    config = shrunk.recipe("demo_pretrain", "unused", model__encoder__depth=1)
    config.update(norm_pix_loss=True, norm_pix_eps=0.1)
    task = tasks.make_task(config, (), total_steps=10)
    mask_key, _ = jax.random.split(state.step_key())
    made = jax.jit(pretrain_step.make_reconstruct_fn(config, task.model))(
        state.params, batch, mask_key
    )
    pixels = patches.gather_tokens(patches.patchify(made["clips"], (2, 8, 8)), made["masked_ids"])
    mean, deviation = pixels.mean(-1, keepdims=True), pixels.std(-1, keepdims=True, ddof=1)
    loss = jnp.square((pixels - mean) / (deviation + 0.1) - made["predictions"]).mean()
    np.testing.assert_allclose(loss_of(state, jax.jit(task.step_fn), batch), loss, rtol=1e-3)


def test_the_loss_is_that_of_the_steps_own_reconstruction(parts):
    config, model, state, step_fn, batch = parts
    mask_key, _ = jax.random.split(state.step_key())
    reconstruct = jax.jit(pretrain_step.make_reconstruct_fn(config, model))
    made = reconstruct(state.params, batch, mask_key)
    pixels = patches.gather_tokens(patches.patchify(made["clips"], (2, 8, 8)), made["masked_ids"])
    errors = rgb.normalise(pixels, -2) - rgb.normalise(made["predictions"], -2)
    loss = jnp.square(errors).mean()
    np.testing.assert_allclose(loss_of(state, step_fn, batch), loss, rtol=1e-3)


def test_masks_follow_compensated_motion_and_each_clip_has_its_own(parts):
    config, _, _, _, batch = parts
    config = config.copy_and_resolve_references()
    config.masking.update(strategy="mgm", ratio=0.25)
    motion = np.zeros_like(batch["motion"])
    motion[..., 1:2, 2:3, :] = 2.0
    masks = {}
    for compensation, pan in (("none", 0.0), ("median", -5.0)):
        config.masking.camera_compensation = compensation
        moved = batch | {"motion": motion + pan, "motion_valid": np.ones((8, 8), bool)}
        draw = jax.jit(pretrain_step.make_guided_mask_fn(config, (4, 4, 4)))
        masks[compensation] = np.asarray(draw(moved, jax.random.key(0)))
    np.testing.assert_array_equal(masks["none"], masks["median"])
    assert len({mask[0].tobytes() for mask in masks["none"]}) > 1  # The first box is random.
