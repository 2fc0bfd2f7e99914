"""The train state and the batch that a step takes, and the state's shapes before it exists."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key

from mgm_jax.training import sharding

State = TypeVar("State")

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

    def step_key(self) -> Key[Array, ""]:
        """The random key of the next step."""
        return jax.random.fold_in(jax.random.wrap_key_data(self.seed), self.step)

    @jax.named_scope("optimizer")
    def apply_gradients(
        self,
        optimizer: optax.GradientTransformation,
        loss: Float[Array, ""],
        gradients: Mapping[str, Any],
        model_state: Any = None,
    ) -> tuple["TrainState", Float[Array, ""]]:
        """The state after a step, and the global norm of the gradients.

        Gradients are of all parameters, or of the top-level entries that `optimizer` trains;
        `model_state` is given if the step changed it. If the loss or the norm is not finite, only
        the step count changes, and with it the learning rate.
        """
        gradient_norm = optax.global_norm(gradients)
        trainable = {name: self.params[name] for name in gradients}
        updates, opt_state = optimizer.update(gradients, self.opt_state, trainable)
        changed = {
            "params": {**self.params, **optax.apply_updates(trainable, updates)},
            "opt_state": opt_state,
            "model_state": self.model_state if model_state is None else model_state,
        }
        finite = jnp.isfinite(loss) & jnp.isfinite(gradient_norm)

        def choose(new: Any, old: Any) -> Any:
            return new if _is_schedule(old) else jnp.where(finite, new, old)

        changed = {
            name: jax.tree.map(choose, after, getattr(self, name), is_leaf=_is_schedule)
            for name, after in changed.items()
        }
        return self.replace(step=self.step + 1, **changed), gradient_norm

    @property
    def variables(self) -> dict[str, Any]:
        """The model's variable collections, as `model.apply` takes them."""
        return {"params": self.params, **self.model_state}


def _is_schedule(state: Any) -> bool:
    return isinstance(state, optax.ScaleByScheduleState)


def clip_keys(key: Key[Array, ""], batch: Batch) -> Key[Array, " b"]:
    """A random key for each clip, from its `index`: the same wherever the clip is in a batch."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch["index"])


StepFn = Callable[[TrainState, Batch], tuple[TrainState, dict[str, Float[Array, ""]]]]
"""A pure training step: `(state, batch) -> (state, metrics)`."""


def abstract_state(make: Callable[[], State], mesh: Mesh) -> State:
    """Shapes, types and shardings of a train state or of variables, without computing them.

    The leaves of what `make` returns are replaced by `jax.ShapeDtypeStruct`s.
    """
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        shapes = jax.eval_shape(make)  # Refuses what these devices cannot compute.
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        shapes,
        sharding.state_sharding(mesh, shapes),
    )
