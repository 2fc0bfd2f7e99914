"""The optimizer and its learning-rate schedule."""

from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax
from jaxtyping import Array, Float32, Int, PyTree


def make_schedule(
    peak: float,
    minimum: float,
    total_steps: int,
    warmup_steps: int = 0,
    warmup_start: float = 0.0,
) -> optax.Schedule:
    """Linear warm-up, then half a cosine: VideoMAE's `cosine_scheduler`, by step from 0.

    The ends are VideoMAE's: the warm-up is `linspace(start, peak, warmup_steps)`, so step
    warmup_steps - 1 already has the peak, and so has step warmup_steps, the first of the cosine. (A
    warm-up of one step has the start.) The last step is one short of the minimum, which all later
    steps have. `total_steps` includes the warm-up.
    """

    def schedule(step: int | Int[Array, ""]) -> Float32[Array, ""]:
        step = jnp.asarray(step, jnp.float32)
        warmup = warmup_start + (peak - warmup_start) * step / max(warmup_steps - 1, 1)
        progress = (step - warmup_steps) / max(total_steps - warmup_steps, 1)
        cosine = 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.clip(progress, 0.0, 1.0)))
        return jnp.where(step < warmup_steps, warmup, minimum + (peak - minimum) * cosine)

    return schedule


def scale_rate(rate: float, global_batch: int) -> float:
    """The learning rate for `global_batch` videos per step; recipes give that for 256 of them."""
    return rate * global_batch / 256


def weight_decay_mask(params: PyTree) -> PyTree[bool]:
    """True for parameters with weight decay: not 1-D ones, biases, LayerNorm scales, mask tokens.

    Learned positions do not decay either, as in TimeSformer. The rank alone does not tell: query
    and value biases are [heads, head_dim].
    """

    def decays(path: tuple[Any, ...], value: Any) -> bool:
        names = [part.key for part in path]
        is_bias = names[-1] == "bias" or names[-1].endswith("_bias")
        exempt = is_bias or names[-1] in ("scale", "mask_token") or "positions" in names
        return value.ndim > 1 and not exempt

    return jax.tree_util.tree_map_with_path(decays, params)


def layer_decay_multipliers(params: PyTree, decay: float, depth: int) -> PyTree:
    """Learning rate of each parameter relative to the head's: layer decay of BEiT and VideoMAE.

    Layer l has `decay ** (depth + 1 - l)`. The embedding and learned positions are layer 0, block i
    (from 0) is layer i + 1, and what follows the blocks is layer depth + 1. `params` are those of a
    classifier, or their shapes.
    """

    def multiplier(path: tuple[Any, ...], _: Any) -> float:
        names = [part.key for part in path]
        if names[:2] in (["encoder", "embed"], ["encoder", "positions"]):
            return decay ** (depth + 1)
        if names[:2] == ["encoder", "blocks"]:
            return decay ** (depth - int(names[2]))
        return 1.0

    return jax.tree_util.tree_map_with_path(multiplier, params)


def make_optimizer(
    config: ml_collections.ConfigDict,
    total_steps: int,
    warmup_steps: int,
    global_batch: int,
    multipliers: PyTree | None = None,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimizer of a recipe (Tables 5 and 6: AdamW with a cosine schedule), and its schedule.

    Learning rates scale with the batch (`scale_rate`). `global_batch` is the number of videos per
    step over all hosts, without the copies that repeated augmentation makes. `total_steps` includes
    the warm-up. `multipliers` are factors on the update of each parameter, weight decay included.
    """
    schedule = make_schedule(
        scale_rate(config.base_lr, global_batch),
        scale_rate(config.min_lr, global_batch),
        total_steps,
        warmup_steps,
        scale_rate(config.warmup_lr, global_batch),
    )
    optimizer = optax.adamw(
        schedule,
        b1=config.b1,
        b2=config.b2,
        eps=config.eps,
        weight_decay=config.weight_decay,
        mask=weight_decay_mask,
    )
    if multipliers is not None:
        scale_updates = optax.stateless(
            lambda updates, _: jax.tree.map(lambda update, by: update * by, updates, multipliers)
        )
        optimizer = optax.chain(optimizer, scale_updates)
    if config.clip_norm is not None:
        optimizer = _clipped(optimizer, config.clip_norm)
    return optimizer, schedule


def _clipped(
    optimizer: optax.GradientTransformation, max_norm: float
) -> optax.GradientTransformation:
    """Clips gradients first; the state is the optimizer's, so a run may resume with or without."""
    clip = optax.clip_by_global_norm(max_norm)

    def update(
        gradients: PyTree, state: optax.OptState, params: PyTree | None = None
    ) -> tuple[PyTree, optax.OptState]:
        clipped, _ = clip.update(gradients, optax.EmptyState())
        return optimizer.update(clipped, state, params)

    return optax.GradientTransformation(optimizer.init, update)
