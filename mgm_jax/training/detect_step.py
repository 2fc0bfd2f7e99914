"""Detection of actions in boxes: the finetuning step and prediction."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Float32, Key

from mgm_jax.preprocessing import colour_jitter, rgb
from mgm_jax.training import grad_accumulation
from mgm_jax.training.classify_step import PredictFn
from mgm_jax.training.state import Batch, StepFn, TrainState, clip_keys

KEY_FRAME_FIELDS = (
    *("index", "valid", "box_valid", "box_seen", "key_boxes", "scores", "num_boxes"),
    *("truth_boxes", "truth_actions", "num_truth"),
)
"""Fields of a batch that prediction passes on."""


def make_detect_step(
    config: Any,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
) -> StepFn:
    """Builds the training step of a detector; `schedule` is for the metrics."""
    apply: Callable[..., Any] = model.apply

    def step_fn(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        colour_key, dropout_key = jax.random.split(state.step_key())
        clips = colour_jitter.colour_jitter(
            clip_keys(colour_key, batch),
            rgb.batch_to_rgb(batch, size=config.data.size),
            config.augment.colour_jitter,
        )
        counted = batch["box_valid"] & batch["valid"][:, None]
        rows = (rgb.normalise(clips), batch["boxes"], batch["actions"], counted)
        boxes_per_clip = counted.sum(axis=1).astype(jnp.float32)

        def loss_fn(
            params: Any, rows: Any, dropout_key: Key[Array, ""]
        ) -> tuple[Float[Array, ""], None]:
            inputs, boxes, actions, counted = rows
            rngs = {"dropout": dropout_key}
            logits = apply({"params": params}, inputs, boxes, train=True, rngs=rngs)
            return binary_cross_entropy(logits, actions, counted), None

        (loss, _), gradients = grad_accumulation.value_and_grad(
            loss_fn, state.params, rows, boxes_per_clip, dropout_key, config.grad_accum_steps
        )
        new_state, gradient_norm = state.apply_gradients(optimizer, loss, gradients)
        return new_state, {
            "loss": loss,
            "boxes_per_clip": boxes_per_clip.mean(),
            "gradient_norm": gradient_norm,
            "learning_rate": schedule(state.step),
        }

    return step_fn


@jax.named_scope("loss")
def binary_cross_entropy(
    logits: Float[Array, "b k classes"],
    actions: Float[Array, "b k classes"],
    counted: Bool[Array, "b k"],
) -> Float32[Array, ""]:
    """Sigmoid cross-entropy in nats: the mean over the counted boxes and over all classes.

    VideoMAE's code takes the sum over the boxes of a GPU's clips; Adam does not see the factor.
    """
    each = optax.sigmoid_binary_cross_entropy(logits.astype(jnp.float32), actions).mean(axis=-1)
    return (each * counted).sum() / jnp.maximum(counted.sum(), 1)


def make_predict_fn(config: Any, model: nn.Module) -> PredictFn:
    """Builds the function that scores the actions of the boxes of clips.

    Returns:
        `(variables, batch) -> {probabilities [b, k, classes], and the KEY_FRAME_FIELDS}`.
    """
    apply: Callable[..., Any] = model.apply

    def predict_fn(variables: Mapping[str, Any], batch: Batch) -> dict[str, Array]:
        clips = rgb.normalise(rgb.batch_to_rgb(batch, size=config.data.size))
        logits = apply(variables, clips, batch["boxes"])
        rows = {name: batch[name] for name in KEY_FRAME_FIELDS}
        return {"probabilities": jax.nn.sigmoid(logits.astype(jnp.float32)), **rows}

    return predict_fn
