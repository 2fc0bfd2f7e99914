"""Classification: the step of finetuning and of linear probes, and prediction."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from mgm_jax.preprocessing import erasing, mixing, rand_augment, rgb
from mgm_jax.training import grad_accumulation, losses
from mgm_jax.training.state import Batch, StepFn, TrainState, clip_keys

PredictFn = Callable[[Mapping[str, Any], Batch], dict[str, Array]]

FROZEN = ("encoder",)
"""Top-level entries of a linear probe's parameters that are not trained."""


def make_classify_step(
    config: Any,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
) -> StepFn:
    """Builds the step of a classifier or a linear probe: augment, mix, classify.

    `optimizer` is that of the trained parameters, `schedule` is for the metrics, which are averages
    over a probe's heads.
    """
    frozen = FROZEN if config.task == "linear_probe" else ()
    apply: Callable[..., Any] = model.apply

    def step_fn(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        clip_key, mix_key, dropout_key = jax.random.split(state.step_key(), 3)
        rows = make_rows(config, model.num_classes, batch, clip_key, mix_key)
        _, targets, weights = rows
        trained = {name: part for name, part in state.params.items() if name not in frozen}

        def loss_fn(
            trained: Any, rows: Any, dropout_key: Key[Array, ""]
        ) -> tuple[Float[Array, ""], tuple[Array, Any]]:
            inputs, targets, weights = rows
            logits, changed = apply(
                {"params": {**state.params, **trained}, **state.model_state},
                inputs,
                train=True,
                rngs={"dropout": dropout_key},
                mutable=list(state.model_state),
                **({"valid": weights > 0} if state.model_state else {}),
            )
            loss = losses.soft_cross_entropy(logits, targets, weights)
            # Summed, so that each head has the gradient that it would have alone.
            return loss.sum(), (logits, changed)

        (loss, (logits, changed)), gradients = grad_accumulation.value_and_grad(
            loss_fn, trained, rows, weights, dropout_key, config.grad_accum_steps
        )
        new_state, gradient_norm = state.apply_gradients(optimizer, loss, gradients, changed)
        top1 = _top1(logits, targets.argmax(axis=-1), weights)
        return new_state, {
            "loss": loss / top1.size,
            "top1": top1.mean(),
            "gradient_norm": gradient_norm,
            "learning_rate": schedule(state.step),
        }

    return step_fn


def make_predict_fn(config: Any, model: nn.Module) -> PredictFn:
    """Builds the function that classifies views with a classifier or a linear probe.

    Returns:
        `(variables, batch) -> {probabilities [heads, b, classes], index, valid, label}`, where a
        classifier has one head.
    """
    apply: Callable[..., Any] = model.apply

    def predict_fn(variables: Mapping[str, Any], batch: Batch) -> dict[str, Array]:
        logits = apply(variables, rgb.normalise(rgb.batch_to_rgb(batch, size=config.data.size)))
        if logits.ndim == 2:
            logits = logits[None]
        rows = {name: batch[name] for name in ("index", "valid", "label")}
        return {"probabilities": jax.nn.softmax(logits.astype(jnp.float32)), **rows}

    return predict_fn


def make_rows(
    config: Any, num_classes: int, batch: Batch, clip_key: Key[Array, ""], mix_key: Key[Array, ""]
) -> tuple[Array, Array, Array]:
    """Turns a batch into normalised clips, targets and weights.

    Without `config.augment` it uses no key.
    """
    label = batch["label"]
    # Clips that could be read and whose class is one of the model's.
    counted = batch["valid"] & (label >= 0) & (label < num_classes)
    if "augment" not in config:
        inputs = rgb.normalise(rgb.batch_to_rgb(batch, size=config.data.size))
        return inputs, jax.nn.one_hot(label, num_classes), counted.astype(jnp.float32)
    augment = config.augment
    return mixing.mix(
        mix_key,
        augment_clips(config, batch, clip_key),
        label,
        counted,
        num_classes=num_classes,
        mixup_alpha=augment.mixup,
        cutmix_alpha=augment.cutmix,
        probability=augment.mix_probability,
        switch_probability=augment.cutmix_share,
        label_smoothing=augment.label_smoothing,
        group_size=augment.mix_group_size,
    )


def augment_clips(config: Any, batch: Batch, key: Key[Array, ""]) -> Float[Array, "b T H W 3"]:
    """Turns a batch into augmented, normalised clips.

    The augmentation of a clip depends on the key and its `index`, not on its place in the batch.
    """
    augment = config.augment
    ops_keys, erase_keys = jax.vmap(jax.random.split, out_axes=1)(clip_keys(key, batch))
    if augment.rand_augment_layers:
        clips = rand_augment.rand_augment(
            ops_keys,
            batch,
            size=config.data.size,
            num_layers=augment.rand_augment_layers,
            magnitude=augment.rand_augment_magnitude,
            magnitude_std=augment.rand_augment_std,
            probability=augment.rand_augment_probability,
        )
    else:
        clips = rgb.batch_to_rgb(batch, size=config.data.size)
    return erasing.erase(erase_keys, rgb.normalise(clips), probability=augment.erasing)


def _top1(
    logits: Float[Array, "*heads b classes"], labels: Array, weights: Float[Array, " b"]
) -> Float[Array, "*heads"]:
    finite = jnp.isfinite(logits).all(axis=-1)
    right = (logits.argmax(axis=-1) == labels) * finite * weights
    return right.sum(axis=-1) / jnp.maximum(weights.sum(), 1)
