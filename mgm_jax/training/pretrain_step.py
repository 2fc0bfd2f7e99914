"""The pure step function of pretraining, `(state, batch) -> (state, metrics)`, and its parts."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Key

from mgm_jax.flow import raft
from mgm_jax.flow.convert import load_weights
from mgm_jax.masking import motion_maps, strategies
from mgm_jax.preprocessing import rgb
from mgm_jax.training import grad_accumulation, losses
from mgm_jax.training.metrics import PretrainMetrics
from mgm_jax.training.state import Batch, TrainState


def make_prepare_fn(
    config: Any, grid: tuple[int, int, int]
) -> Callable[[Batch, Key[Array, ""]], tuple[Float[Array, "b T H W 3"], Bool[Array, "b t h w"]]]:
    """Builds the function that turns a batch into RGB clips and their masks.

    Args:
        config: The run's config.
        grid: Token grid (t, h, w).

    Returns:
        `(batch, key) -> (clips, mask)`: RGB in [0, 1], and True = masked. Each clip's mask depends
        on the key and the clip's `index` alone, not on its place in the batch.

    Raises:
        CheckpointError: RAFT is the motion source and its weights are not there or do not fit.
    """
    draw_masks = strategies.make_mask_fn(config.masking, grid)
    tubelet_frames = config.model.tubelet[0]
    flow_params = None
    if config.data.motion == "raft":
        flow_params = load_weights(config.data.flow_weights)

    def prepare_fn(
        batch: Batch, key: Key[Array, ""]
    ) -> tuple[Float[Array, "b T H W 3"], Bool[Array, "b t h w"]]:
        clips = rgb.batch_to_rgb(batch, size=config.data.size)
        if flow_params is None:
            vectors, valid = batch["motion"], batch["motion_valid"]
        else:
            vectors, valid = raft.flow_motion(flow_params, clips)
        guiding = motion_maps.compensate_camera(vectors, valid, config.masking.camera_compensation)
        magnitude = motion_maps.magnitude_per_tubelet(guiding, valid, tubelet_frames)
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch["index"])
        return clips, draw_masks(keys, magnitude)

    return prepare_fn


def make_pretrain_step(
    config: Any,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
) -> Callable[[TrainState, Batch], tuple[TrainState, PretrainMetrics]]:
    """Builds the pretraining step: mask, encode, decode, compare with the hidden pixels.

    Args:
        config: The run's config.
        model: The masked autoencoder.
        optimizer: Its optimizer.
        schedule: The learning rate by step, for the metrics.

    Returns:
        A pure function, to be jitted.
    """
    prepare_fn = make_prepare_fn(config, model.grid)
    num_masked = strategies.num_masked(model.grid, config.masking.ratio)
    tubelet = tuple(config.model.tubelet)
    num_parts = config.grad_accum_steps

    def step_fn(state: TrainState, batch: Batch) -> tuple[TrainState, PretrainMetrics]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.seed), state.step)
        mask_key, dropout_key = jax.random.split(key)

        def loss_fn(
            params: Any, batch: Batch, dropout_key: Key[Array, ""]
        ) -> tuple[Float[Array, ""], None]:
            clips, mask = prepare_fn(batch, mask_key)
            visible_ids, masked_ids = strategies.split_ids(mask, num_masked)
            inputs = rgb.normalise(clips)
            if not config.norm_pix_loss:
                targets = losses.normalised_pixel_target(
                    inputs, tubelet, masked_ids, normalise=False
                )
            else:
                targets = losses.normalised_pixel_target(clips, tubelet, masked_ids)
            predictions = model.apply(
                {"params": params},
                inputs,
                visible_ids,
                masked_ids,
                train=True,
                rngs={"dropout": dropout_key},
            )
            return losses.masked_mse(predictions, targets, batch["valid"]), None

        (loss, _), gradients = grad_accumulation.value_and_grad(
            loss_fn, state.params, batch, batch["valid"], dropout_key, num_parts
        )
        new_state, gradient_norm = apply_gradients(state, optimizer, loss, gradients)
        metrics = PretrainMetrics.single_from_model_output(
            loss=loss, gradient_norm=gradient_norm, learning_rate=schedule(state.step)
        )
        return new_state, metrics

    return step_fn


def apply_gradients(
    state: TrainState,
    optimizer: optax.GradientTransformation,
    loss: Float[Array, ""],
    gradients: Any,
    model_state: Any = None,
) -> tuple[TrainState, Float[Array, ""]]:
    """Ends a step: one update of the parameters that have a gradient.

    A step whose loss or gradient is not finite leaves everything as it was but the count.

    Args:
        state: State before the step.
        optimizer: Of the parameters that have a gradient.
        loss: The step's loss.
        gradients: Gradients, of all parameters or of some of the tree's first branches.
        model_state: What else the step changed, such as BatchNorm's statistics.

    Returns:
        The state after the step, and the gradient's norm.
    """
    gradient_norm = optax.global_norm(gradients)
    trainable = {name: state.params[name] for name in gradients}
    updates, opt_state = optimizer.update(gradients, state.opt_state, trainable)
    changed = {
        "params": {**state.params, **optax.apply_updates(trainable, updates)},
        "opt_state": opt_state,
        "model_state": state.model_state if model_state is None else model_state,
    }
    finite = jnp.isfinite(loss) & jnp.isfinite(gradient_norm)
    changed = {
        name: jax.tree.map(
            lambda new, old: jnp.where(finite, new, old), after, getattr(state, name)
        )
        for name, after in changed.items()
    }
    return state.replace(step=state.step + 1, **changed), gradient_norm


def make_reconstruct_fn(
    config: Any, model: nn.Module
) -> Callable[[Any, Batch, Key[Array, ""]], dict[str, Array]]:
    """Builds the function behind the pictures: what was hidden and what the model made of it.

    Args:
        config: The run's config.
        model: The masked autoencoder.

    Returns:
        `(params, batch, key) -> {clips, mask, masked_ids, predictions}`; predictions are the
        masked tubelets: normalised pixels, or RGB in [0, 1] without `config.norm_pix_loss`.
    """
    prepare_fn = make_prepare_fn(config, model.grid)
    num_masked = strategies.num_masked(model.grid, config.masking.ratio)

    def reconstruct_fn(params: Any, batch: Batch, key: Key[Array, ""]) -> dict[str, Array]:
        clips, mask = prepare_fn(batch, key)
        visible_ids, masked_ids = strategies.split_ids(mask, num_masked)
        predictions = model.apply(
            {"params": params}, rgb.normalise(clips), visible_ids, masked_ids
        ).astype(jnp.float32)
        if not config.norm_pix_loss:
            pixels = predictions.reshape(*predictions.shape[:2], -1, 3)
            predictions = rgb.denormalise(pixels).reshape(predictions.shape)
        return {
            "clips": clips,
            "mask": mask,
            "masked_ids": masked_ids,
            "predictions": predictions,
        }

    return reconstruct_fn
