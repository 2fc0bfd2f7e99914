"""What tells pretraining, finetuning and probing apart: the model, its start and its step.

The loop in `train` is the same for all of them.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Key
from ml_collections import ConfigDict

from mgm_jax.errors import ConfigError
from mgm_jax.models import classifier, mae
from mgm_jax.training import classify_step, pretrain_step, sharding
from mgm_jax.training import optimizer as optim
from mgm_jax.training.state import TrainState, make_init_fn

# Steps dispatched ahead of the device: enough to keep it busy, few enough that the batches
# waiting in its memory stay few.
STEPS_AHEAD = 2

ENCODER_WITHOUT_WEIGHTS = (
    "config.init_from is empty: a linear probe needs a pretrained encoder; give the folder of a "
    "pretraining run with --config.init_from=WORKDIR"
)


@dataclasses.dataclass(frozen=True)
class Task:
    """What a run computes.

    Attributes:
        model: The model.
        init_fn: Makes a fresh state.
        step_fn: One step.
        predict_fn: Classifies views; None where nothing is classified.
    """

    model: nn.Module
    init_fn: Callable[[], TrainState]
    step_fn: Callable[[TrainState, pretrain_step.Batch], tuple[TrainState, Any]]
    predict_fn: Callable[[TrainState, pretrain_step.Batch], dict[str, Array]] | None = None


def make_task(
    config: ConfigDict, class_names: tuple[str, ...], total_steps: int = 1, warmup_steps: int = 0
) -> Task:
    """Builds what `config.task` names.

    Args:
        config: The run's config.
        class_names: Classes of the data.
        total_steps: Steps of the whole run.
        warmup_steps: Steps of the warm-up, among them.

    Returns:
        The task.

    Raises:
        ConfigError: Something that cannot work, such as classifying videos without classes.
    """
    if config.task not in _TASKS:
        raise ConfigError(f"config.task={config.task!r} is not one of {', '.join(_TASKS)}")
    if config.task != "pretrain" and len(class_names) < 2:
        raise ConfigError(
            f"config.data.path={config.data.path}: a classifier needs videos of at least 2 "
            f"classes, these have {len(class_names)}; give class folders of videos, or a csv file "
            "with a column 'label'"
        )
    return _TASKS[config.task](config, len(class_names), total_steps, warmup_steps)


def _pretrain(config: ConfigDict, _: int, total_steps: int, warmup_steps: int) -> Task:
    model = mae.make_autoencoder(config)
    num_tokens = int(np.prod(model.grid))

    def init_variables(key: Key[Array, ""]) -> Mapping[str, Any]:
        ids = jnp.arange(num_tokens)[None]
        return model.init(key, _example(config), ids[:, :1], ids[:, 1:])

    optimizer, schedule = optim.make_optimizer(
        config.optimizer, total_steps, warmup_steps, config.batch_size
    )
    return Task(
        model,
        make_init_fn(config.seed, init_variables, optimizer),
        pretrain_step.make_pretrain_step(config, model, optimizer, schedule),
    )


def _finetune(config: ConfigDict, num_classes: int, total_steps: int, warmup_steps: int) -> Task:
    model = classifier.make_classifier(config, num_classes)

    def init_variables(key: Key[Array, ""]) -> Mapping[str, Any]:
        return model.init(key, _example(config))

    shapes = jax.eval_shape(init_variables, jax.random.key(0))["params"]
    optimizer, schedule = optim.make_optimizer(
        config.optimizer,
        total_steps,
        warmup_steps,
        config.batch_size,
        multipliers=optim.layer_decay_multipliers(
            shapes, config.optimizer.layer_decay, model.encoder_config.depth
        ),
    )
    return Task(
        model,
        make_init_fn(config.seed, init_variables, optimizer),
        classify_step.make_finetune_step(config, model, optimizer, schedule),
        classify_step.make_predict_fn(config, model),
    )


def _linear_probe(
    config: ConfigDict, num_classes: int, total_steps: int, warmup_steps: int
) -> Task:
    if not config.init_from:
        raise ConfigError(ENCODER_WITHOUT_WEIGHTS)
    factors = np.asarray(config.probe.learning_rate_factors, np.float32)
    model = classifier.make_linear_probe(config, num_classes)

    def init_variables(key: Key[Array, ""]) -> Mapping[str, Any]:
        return model.init(key, _example(config))

    optimizer, schedule = optim.make_optimizer(
        config.optimizer,
        total_steps,
        warmup_steps,
        config.batch_size,
        multipliers={"heads": {"kernel": factors[:, None, None], "bias": factors[:, None]}},
    )
    return Task(
        model,
        make_init_fn(config.seed, init_variables, optimizer, classify_step.FROZEN),
        classify_step.make_probe_step(config, model, optimizer, schedule),
        classify_step.make_predict_fn(config, model),
    )


def _example(config: ConfigDict) -> Array:
    data = config.data
    return jnp.zeros((1, data.clip_frames, data.size, data.size, 3))


_TASKS: dict[str, Callable[[ConfigDict, int, int, int], Task]] = {
    "pretrain": _pretrain,
    "finetune": _finetune,
    "linear_probe": _linear_probe,
}


def jit_step(task: Task, mesh: Mesh, state_shardings: TrainState) -> jax.stages.Wrapped:
    """Makes a task's step a program for all devices of a mesh; it takes the state's memory over.

    Args:
        task: What the step computes.
        mesh: The mesh.
        state_shardings: Where the state lives.

    Returns:
        `(state, batch) -> (state, metrics)`.
    """
    return jax.jit(
        sharding.on_mesh(task.step_fn, mesh),
        in_shardings=(state_shardings, sharding.batch_sharding(mesh)),
        out_shardings=(state_shardings, NamedSharding(mesh, PartitionSpec())),
        donate_argnums=0,
    )
