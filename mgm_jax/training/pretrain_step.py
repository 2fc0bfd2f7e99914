"""The pretraining step: mask, encode, decode, compare with the masked pixels."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Key

from mgm_jax.config import mask_ratio
from mgm_jax.flow import raft
from mgm_jax.flow.weights import load_weights
from mgm_jax.masking import motion_maps, strategies
from mgm_jax.models import patches as patches_lib
from mgm_jax.models.layers import without_kernels
from mgm_jax.preprocessing import rgb
from mgm_jax.training import grad_accumulation, losses
from mgm_jax.training.state import Batch, StepFn, TrainState, clip_keys

MaskFn = Callable[[Batch, Key[Array, ""]], Bool[Array, "b t h w"]]
MotionFn = Callable[[Batch], tuple[Float[Array, "b T mh mw 2"], Bool[Array, "b T"]]]


def make_motion_fn(config: Any) -> MotionFn:
    """Builds the function that gives the motion of a batch, and which frames have any.

    Raises:
        CheckpointError: RAFT is the motion source, and its weights are missing or do not fit.
    """
    if config.data.motion != "raft":
        return lambda batch: (batch["motion"], batch["motion_valid"])
    params, size = load_weights(config.data.flow_weights), config.data.size
    return lambda batch: raft.flow_motion(params, rgb.batch_to_rgb(batch, size=size))


def make_guided_mask_fn(config: Any, grid: tuple[int, int, int]) -> MaskFn:
    """Builds the function that draws the masks of a batch on a token grid (t, h, w).

    Returns:
        `(batch, key) -> mask`: True for masked tokens. A clip's mask depends on the key and the
        clip's `index`, not on its place in the batch.

    Raises:
        CheckpointError: As `make_motion_fn`.
    """
    draw_masks = strategies.make_mask_fn(config.masking, grid)
    motion_fn, tubelet_frames = make_motion_fn(config), config.model.tubelet[0]

    def mask_fn(batch: Batch, key: Key[Array, ""]) -> Bool[Array, "b t h w"]:
        vectors, valid = motion_fn(batch)
        guiding = motion_maps.compensate_camera(vectors, valid, config.masking.camera_compensation)
        magnitude = motion_maps.magnitude_per_tubelet(guiding, valid, tubelet_frames)
        return draw_masks(clip_keys(key, batch), magnitude)

    return mask_fn


def make_pretrain_step(
    config: Any,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
) -> StepFn:
    """Builds the pretraining step of a masked autoencoder; `schedule` is for the metrics."""
    mask_fn = make_guided_mask_fn(config, model.grid)
    num_masked = strategies.num_masked(model.grid, mask_ratio(config.masking))
    tubelet, normalise = tuple(config.model.tubelet), config.norm_pix_loss
    apply: Callable[..., Any] = model.apply

    def step_fn(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        mask_key, dropout_key = jax.random.split(state.step_key())

        def loss_fn(
            params: Any, batch: Batch, dropout_key: Key[Array, ""]
        ) -> tuple[Float[Array, ""], None]:
            mask = mask_fn(batch, mask_key)
            visible_ids, masked_ids = strategies.split_ids(mask, num_masked)
            cut = [
                patches_lib.cut_tokens(plane, visible_ids, masked_ids, tubelet=tubelet)
                for plane in rgb.resample_planes(batch, size=config.data.size)
            ]
            visible, masked = (
                rgb.planes_to_rgb(planes, batch["yuv_to_rgb"], axis=2)
                for planes in zip(*cut, strict=True)
            )
            # Normalised targets are made from RGB, as VideoMAE's, plain ones from the inputs.
            masked = masked if normalise else rgb.normalise(masked, -2)
            targets = losses.pixel_target(masked, normalise, config.norm_pix_eps)
            predictions = apply(
                {"params": params},
                rgb.normalise(visible, -2),
                visible_ids,
                masked_ids,
                train=True,
                rngs={"dropout": dropout_key},
            )
            return losses.masked_mse(predictions, targets, batch["valid"]), None

        (loss, _), gradients = grad_accumulation.value_and_grad(
            loss_fn, state.params, batch, batch["valid"], dropout_key, config.grad_accum_steps
        )
        new_state, gradient_norm = state.apply_gradients(optimizer, loss, gradients)
        return new_state, {
            "loss": loss,
            "gradient_norm": gradient_norm,
            "learning_rate": schedule(state.step),
        }

    return step_fn


def make_reconstruct_fn(
    config: Any, model: nn.Module
) -> Callable[[Mapping[str, Any], Batch, Key[Array, ""]], dict[str, Array]]:
    """Builds the function that masks clips and predicts the masked pixels, for pictures.

    Attention is written out: the few clips are not divided over a mesh, and a TPU's kernel runs on
    each device's own clips only.

    Returns:
        `(params, batch, key) -> {clips, mask, masked_ids, predictions}`; predictions are the
        masked tubelets: normalised pixels, or RGB in [0, 1] without `config.norm_pix_loss`.
    """
    mask_fn = make_guided_mask_fn(config, model.grid)
    num_masked = strategies.num_masked(model.grid, mask_ratio(config.masking))
    apply: Callable[..., Any] = without_kernels(model).apply

    def reconstruct_fn(
        params: Mapping[str, Any], batch: Batch, key: Key[Array, ""]
    ) -> dict[str, Array]:
        clips, mask = rgb.batch_to_rgb(batch, size=config.data.size), mask_fn(batch, key)
        visible_ids, masked_ids = strategies.split_ids(mask, num_masked)
        predictions = apply({"params": params}, rgb.normalise(clips), visible_ids, masked_ids)
        predictions = predictions.astype(jnp.float32)
        if not config.norm_pix_loss:
            predictions = rgb.denormalise(predictions, -2)
        return {"clips": clips, "mask": mask, "masked_ids": masked_ids, "predictions": predictions}

    return reconstruct_fn
