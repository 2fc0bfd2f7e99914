"""The train state: what training changes, and its shapes and places before it exists."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Key

from mgm_jax.training import sharding


@flax.struct.dataclass
class TrainState:
    """Everything that training changes, and the seed of its randomness.

    The leaves are arrays, or their shapes or shardings in trees of the same structure.

    Attributes:
        step: Steps done, int32 scalar.
        params: The model's parameters.
        model_state: Its other variables, such as BatchNorm's statistics; empty for most.
        opt_state: The optimizer's state.
        seed: Raw key data, uint32; the key of a step is folded from it.
    """

    step: Any
    params: Any
    model_state: Any
    opt_state: Any
    seed: Any


def make_init_fn(
    seed: int,
    init_variables: Callable[[Key[Array, ""]], Mapping[str, Any]],
    optimizer: optax.GradientTransformation,
    frozen: Sequence[str] = (),
) -> Callable[[], TrainState]:
    """Builds the function that makes a fresh state, to be jitted with the state's sharding.

    Args:
        seed: Seed of the parameters and of the steps' randomness.
        init_variables: Makes the model's variables.
        optimizer: Optimizer of the parameters that are not frozen.
        frozen: First branches of the parameter tree that the optimizer does not see.

    Returns:
        A pure function without arguments.
    """

    def init_fn() -> TrainState:
        params_key, train_key = jax.random.split(jax.random.key(seed))
        variables = init_variables(params_key)
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
