"""The train state and the batch that a step takes, and the state's shapes before it exists."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Key

from mgm_jax.training import sharding

Batch = Mapping[str, Any]
"""Arrays with one row per clip, by name; `data.clips.LoadClip.random_map` lists them."""


class TrainState(flax.struct.PyTreeNode):
    """Everything that training changes, and the seed of its randomness.

    The leaves are arrays, or their shapes or shardings in trees of the same structure.

    Attributes:
        step: Number of steps done, int32 scalar.
        params: The model's parameters.
        model_state: Its other variable collections, such as `batch_stats`; empty for most models.
        opt_state: State of the optimizer.
        seed: Raw key data, uint32; each step folds its number into this key.
    """

    step: Any
    params: Any
    model_state: Any
    opt_state: Any
    seed: Any

    @property
    def variables(self) -> dict[str, Any]:
        """The model's variable collections, as `model.apply` takes them."""
        return {"params": self.params, **self.model_state}


def make_init_fn(
    seed: int,
    init_variables: Callable[[Key[Array, ""]], Mapping[str, Any]],
    optimizer: optax.GradientTransformation,
    frozen: Sequence[str] = (),
) -> Callable[[], TrainState]:
    """Builds the function that makes the initial state, to be jitted with the state's sharding.

    Args:
        seed: Seed of the parameters and of the steps' randomness.
        init_variables: Makes the model's variables from a key.
        optimizer: Optimizer of the parameters that are not frozen.
        frozen: Top-level entries of the parameters that are not trained.
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


def abstract_arrays(make: Callable[[], Any], mesh: Mesh) -> Any:
    """The result of a function as `jax.ShapeDtypeStruct`s with shardings, without computing it."""
    shapes = jax.eval_shape(make)
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        shapes,
        sharding.state_sharding(mesh, shapes),
    )


def abstract_state(init_fn: Callable[[], TrainState], mesh: Mesh) -> TrainState:
    """Shapes, types and shardings of the train state on a mesh, without computing it."""
    return abstract_arrays(init_fn, mesh)
