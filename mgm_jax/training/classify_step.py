"""The pure functions of classification: finetuning and probing steps, and prediction."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from mgm_jax.preprocessing import erasing, mixing, rand_augment, rgb
from mgm_jax.training import grad_accumulation, losses
from mgm_jax.training.metrics import ClassifyMetrics
from mgm_jax.training.pretrain_step import apply_gradients
from mgm_jax.training.state import Batch, TrainState

PredictFn = Callable[[Mapping[str, Any], Batch], dict[str, Array]]

FROZEN = ("encoder",)
"""Branches of a linear probe's parameters that are not trained."""


def make_finetune_step(
    config: Any,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
) -> Callable[[TrainState, Batch], tuple[TrainState, ClassifyMetrics]]:
    """Builds the finetuning step: augment, mix, classify.

    Args:
        config: The run's config.
        model: The classifier.
        optimizer: Its optimizer.
        schedule: The learning rate by step, for the metrics.

    Returns:
        A pure function, to be jitted.
    """
    augment_fn = make_augment_fn(config)
    num_parts = config.grad_accum_steps

    def step_fn(state: TrainState, batch: Batch) -> tuple[TrainState, ClassifyMetrics]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.seed), state.step)
        clip_key, mix_key, dropout_key = jax.random.split(key, 3)
        inputs = augment_fn(batch, clip_key)
        inputs, targets, weights = mixing.mix(
            mix_key,
            inputs,
            batch["label"],
            batch["valid"],
            num_classes=model.num_classes,
            mixup_alpha=config.augment.mixup,
            cutmix_alpha=config.augment.cutmix,
            probability=config.augment.mix_probability,
            switch_probability=config.augment.cutmix_share,
            label_smoothing=config.augment.label_smoothing,
            group_size=config.augment.mix_group_size,
        )

        def loss_fn(
            params: Any, rows: Any, dropout_key: Key[Array, ""]
        ) -> tuple[Float[Array, ""], Float[Array, "b classes"]]:
            inputs, targets, weights = rows
            logits = model.apply(
                {"params": params}, inputs, train=True, rngs={"dropout": dropout_key}
            )
            return losses.soft_cross_entropy(logits, targets, weights), logits

        (loss, logits), gradients = grad_accumulation.value_and_grad(
            loss_fn,
            state.params,
            (inputs, targets, weights),
            weights,
            dropout_key,
            num_parts,
        )
        new_state, gradient_norm = apply_gradients(state, optimizer, loss, gradients)
        metrics = ClassifyMetrics.single_from_model_output(
            loss=loss,
            train_top1=_top1(logits, targets.argmax(axis=-1), weights),
            gradient_norm=gradient_norm,
            learning_rate=schedule(state.step),
        )
        return new_state, metrics

    return step_fn


def make_probe_step(
    config: Any,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
) -> Callable[[TrainState, Batch], tuple[TrainState, ClassifyMetrics]]:
    """Builds the linear probe's step: frozen features, several heads side by side.

    Args:
        config: The run's config.
        model: The linear probe.
        optimizer: Optimizer of the heads.
        schedule: The learning rate by step, for the metrics.

    Returns:
        A pure function, to be jitted. The metrics are averages over the heads.
    """

    def step_fn(state: TrainState, batch: Batch) -> tuple[TrainState, ClassifyMetrics]:
        inputs = rgb.normalise(_to_clips(config, batch))
        frozen = {name: state.params[name] for name in FROZEN}
        variables = {"params": state.params, **state.model_state}
        features = model.apply(variables, inputs, method="features")
        weights = batch["valid"].astype(jnp.float32)
        targets = jax.nn.one_hot(batch["label"], model.num_classes)

        def loss_fn(trained: Any) -> tuple[Float[Array, ""], Any]:
            logits, changed = model.apply(
                {"params": {**frozen, **trained}, **state.model_state},
                features,
                train=True,
                valid=batch["valid"],
                method="classify",
                mutable=list(state.model_state),
            )
            each = jax.vmap(losses.soft_cross_entropy, in_axes=(0, None, None))
            # The sum gives each head the gradient that it would have alone.
            return each(logits, targets, weights).sum(), (logits, changed)

        trained = {name: part for name, part in state.params.items() if name not in FROZEN}
        (loss, (logits, changed)), gradients = jax.value_and_grad(loss_fn, has_aux=True)(trained)
        new_state, gradient_norm = apply_gradients(state, optimizer, loss, gradients, changed)
        top1 = jax.vmap(_top1, in_axes=(0, None, None))(logits, batch["label"], weights)
        metrics = ClassifyMetrics.single_from_model_output(
            loss=loss / len(logits),
            train_top1=top1.mean(),
            gradient_norm=gradient_norm,
            learning_rate=schedule(state.step),
        )
        return new_state, metrics

    return step_fn


def make_predict_fn(config: Any, model: nn.Module) -> PredictFn:
    """Builds the function that classifies views with a classifier or a linear probe.

    Returns:
        `(variables, batch) -> {probabilities [heads, b, classes], index, valid, label}`, where a
        classifier has one head.
    """
    apply: Callable[..., Any] = model.apply

    def predict_fn(variables: Mapping[str, Any], batch: Batch) -> dict[str, Array]:
        logits = apply(variables, rgb.normalise(_to_clips(config, batch)))
        if logits.ndim == 2:
            logits = logits[None]
        rows = {name: batch[name] for name in ("index", "valid", "label")}
        return {"probabilities": jax.nn.softmax(logits.astype(jnp.float32)), **rows}

    return predict_fn


def make_augment_fn(
    config: Any,
) -> Callable[[Batch, Key[Array, ""]], Float[Array, "b T H W 3"]]:
    """Builds the function that turns a batch into augmented model inputs.

    Args:
        config: The run's config.

    Returns:
        `(batch, key) -> normalised clips`. What happens to a clip depends on the key and the clip's
        `index` alone.
    """
    augment = config.augment

    def augment_fn(batch: Batch, key: Key[Array, ""]) -> Float[Array, "b T H W 3"]:
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch["index"])
        ops_keys, erase_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        clips = _to_clips(config, batch)
        if augment.rand_augment_layers:
            clips = rand_augment.rand_augment(
                ops_keys,
                clips,
                num_layers=augment.rand_augment_layers,
                magnitude=augment.rand_augment_magnitude,
                magnitude_std=augment.rand_augment_std,
                probability=augment.rand_augment_probability,
            )
        return erasing.erase(erase_keys, rgb.normalise(clips), probability=augment.erasing)

    return augment_fn


def _to_clips(config: Any, batch: Batch) -> Float[Array, "b T H W 3"]:
    return rgb.batch_to_rgb(batch, size=config.data.size)


def _top1(
    logits: Float[Array, "b classes"], labels: Array, weights: Float[Array, " b"]
) -> Float[Array, ""]:
    right = (logits.argmax(axis=-1) == labels) * weights
    return right.sum() / jnp.maximum(weights.sum(), 1)
