"""The train state: what training changes, and its shapes and places before it exists."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mgm_jax import sharding


@flax.struct.dataclass
class TrainState:
    """Everything that training changes, and the seed of its randomness.

    The leaves are arrays, or their shapes or shardings in trees of the same structure.

    Attributes:
        step: Steps done, int32 scalar.
        params: The model's parameters.
        opt_state: The optimizer's state.
        seed: Raw key data, uint32; the key of a step is folded from it.
    """

    step: Any
    params: Any
    opt_state: Any
    seed: Any


def make_init_fn(
    config: ConfigDict, model: nn.Module, optimizer: optax.GradientTransformation
) -> Callable[[], TrainState]:
    """Builds the function that makes a fresh state, to be jitted with the state's sharding.

    Args:
        config: The run's config.
        model: The masked autoencoder.
        optimizer: Its optimizer.

    Returns:
        A pure function without arguments.
    """
    clip_shape = (config.data.clip_frames, config.data.size, config.data.size, 3)

    def init_fn() -> TrainState:
        params_key, train_key = jax.random.split(jax.random.key(config.seed))
        ids = jnp.arange(math.prod(model.grid))[None]
        params = model.init(params_key, jnp.zeros((1, *clip_shape)), ids[:, :1], ids[:, 1:])
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params["params"],
            opt_state=optimizer.init(params["params"]),
            seed=jax.random.key_data(train_key),
        )

    return init_fn


def abstract_state(init_fn: Callable[[], TrainState], mesh: Mesh) -> TrainState:
    """Shapes, types and shardings of a state, without computing it.

    Args:
        init_fn: Makes the state.
        mesh: Where it will live.

    Returns:
        A state of `jax.ShapeDtypeStruct`s.
    """
    shapes = jax.eval_shape(init_fn)
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        shapes,
        sharding.state_sharding(mesh, shapes),
    )
