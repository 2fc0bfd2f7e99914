"""The tasks, such as pretraining and finetuning: the model, initial state and step of each."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Key
from ml_collections import ConfigDict

from mgm_jax.errors import ConfigError
from mgm_jax.models import classifier, detector, mae
from mgm_jax.models.layers import without_kernels
from mgm_jax.training import classify_step, detect_step, pretrain_step, sharding
from mgm_jax.training import optimizer as optim
from mgm_jax.training.classify_step import PredictFn
from mgm_jax.training.state import StepFn, TrainState

STEPS_AHEAD = 2
"""Steps dispatched ahead of the device: enough to keep it busy, few enough that the batches
waiting in its memory stay few."""


@dataclasses.dataclass(frozen=True)
class Task:
    """What a run computes.

    Attributes:
        predict_fn: Classifies views, or boxes in them; None in pretraining.
    """

    model: nn.Module
    init_fn: Callable[[], TrainState]
    step_fn: StepFn
    predict_fn: PredictFn | None = None


def make_model(config: ConfigDict, num_classes: int) -> nn.Module:
    """Builds the model of `config.task`; autoencoders ignore the number of classes."""
    if config.task == "pretrain":
        return mae.make_autoencoder(config)
    if config.task == "finetune":
        return classifier.make_classifier(config, num_classes)
    if config.task == "detect":
        return detector.make_detector(config, num_classes)
    return classifier.make_linear_probe(config, num_classes)


def init_variables(config: ConfigDict, model: nn.Module, key: Key[Array, ""]) -> Mapping[str, Any]:
    """Draws the variables of the model that `make_model` built."""
    data = config.data
    inputs = [jnp.zeros((1, data.clip_frames, data.size, data.size, 3))]
    if config.task == "detect":
        inputs.append(jnp.zeros((1, 1, 4)))
    if config.task == "pretrain":
        ids = jnp.arange(int(np.prod(model.grid)))[None]
        inputs += [ids[:, :1], ids[:, 1:]]
    variables = model.init(key, *inputs)
    return _with_normal_kernels(variables, key) if config.model.init != "xavier" else variables


def _with_normal_kernels(variables: Mapping[str, Any], key: Key[Array, ""]) -> Mapping[str, Any]:
    """Draws the kernels of all blocks anew, from a normal distribution of deviation 0.02.

    That is MViT's in SlowFast, which is cut at ±2, a hundred deviations. Kernels that start as zero
    (`timesformer.DividedBlock`) stay zero.
    """
    flat = traverse_util.flatten_dict(variables)
    for number, path in enumerate(sorted(flat)):
        if "blocks" in path and path[-1] == "kernel" and "temporal_fc" not in path:
            kernel_key = jax.random.fold_in(key, number)
            flat[path] = 0.02 * jax.random.normal(kernel_key, flat[path].shape, flat[path].dtype)
    return traverse_util.unflatten_dict(flat)


def make_task(
    config: ConfigDict, class_names: Sequence[str], total_steps: int = 1, warmup_steps: int = 0
) -> Task:
    """Builds what `config.task` names, for a run of `total_steps`, warm-up included.

    Raises:
        ConfigError: Too few classes, or a probe without `config.init_from`.
    """
    if config.task != "pretrain" and len(class_names) < 2:
        raise ConfigError(
            f"config.data.path={config.data.path}: a classifier needs videos of at least 2 "
            f"classes, these have {len(class_names)}; give class folders of videos, or a csv file "
            "with a column 'label'"
        )
    if config.task == "linear_probe" and not config.init_from:
        raise ConfigError(
            "config.init_from is empty: a linear probe needs a pretrained encoder; give the folder "
            "of a pretraining run with --config.init_from=WORKDIR"
        )
    model = make_model(config, len(class_names))

    optimizer, schedule = optim.make_optimizer(
        config.optimizer,
        total_steps,
        warmup_steps,
        config.batch_size,
        multipliers=_learning_rate_multipliers(config, model),
    )
    frozen = classify_step.FROZEN if config.task == "linear_probe" else ()

    def init_fn() -> TrainState:
        params_key, train_key = jax.random.split(jax.random.key(config.seed))
        variables = init_variables(config, model, params_key)
        params = variables["params"]
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            model_state={name: part for name, part in variables.items() if name != "params"},
            opt_state=optimizer.init(
                {name: part for name, part in params.items() if name not in frozen}
            ),
            seed=jax.random.key_data(train_key),
        )

    if config.task == "pretrain":
        step_fn = pretrain_step.make_pretrain_step(config, model, optimizer, schedule)
        return Task(model, init_fn, step_fn)
    make_step = classify_step.make_classify_step
    if config.task == "detect":
        make_step = detect_step.make_detect_step
    step_fn = make_step(config, model, optimizer, schedule)
    return Task(model, init_fn, step_fn, make_predict_fn(config, model))


def make_predict_fn(config: ConfigDict, model: nn.Module) -> PredictFn:
    """Builds the function that predicts for a batch of views; not for pretraining."""
    steps = detect_step if config.task == "detect" else classify_step
    return steps.make_predict_fn(config, model)


def jit_step(task: Task, mesh: Mesh, state_shardings: TrainState) -> jax.stages.Wrapped:
    """Compiles a task's step for a mesh; `(state, batch) -> (state, metrics)` donates the state."""
    return jax.jit(
        sharding.on_mesh(task.step_fn, mesh),
        in_shardings=(state_shardings, sharding.batch_sharding(mesh)),
        out_shardings=(state_shardings, NamedSharding(mesh, PartitionSpec())),
        donate_argnums=0,
    )


def _learning_rate_multipliers(config: ConfigDict, model: Any) -> Any:
    if config.task in ("finetune", "detect"):
        # Kernels do not change the parameters, and may not run on this machine.
        plain = without_kernels(model)
        shapes = jax.eval_shape(lambda: init_variables(config, plain, jax.random.key(0)))["params"]
        decay = config.optimizer.layer_decay
        return optim.layer_decay_multipliers(shapes, decay, model.encoder_config.depth)
    if config.task == "linear_probe":
        factors = np.asarray(config.probe.learning_rate_factors, np.float32)
        return {"heads": {"kernel": factors[:, None, None], "bias": factors[:, None]}}
    return None
