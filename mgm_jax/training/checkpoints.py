"""Checkpoints with Orbax: the train state, the data position and the config together."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
from absl import logging
from ml_collections import ConfigDict
from orbax.checkpoint import checkpoint_managers

from mgm_jax import config as config_lib
from mgm_jax import io
from mgm_jax.errors import CheckpointError
from mgm_jax.io import AnyPath
from mgm_jax.training import sharding
from mgm_jax.training.integrity import (
    complete_steps,
    find_damage,
    list_damage,
    usable_steps,
    write_digests,
)
from mgm_jax.training.state import TrainState

_MIN_SLICE_BYTES = 2**20
"""Replicas share the writing of an array only if each has at least this many bytes to write.

Slicing an array compiles a program for each device and shape, which delays the first save.
"""


class Checkpoints:
    """The checkpoints of one run, written in the background; the newest few and the best are kept.

    Call `close` at the end: an unfinished save is lost otherwise.

    Attributes:
        folder: Where they are.
        without_digests: Steps whose files cannot be verified, which are not used.
    """

    def __init__(
        self, folder: AnyPath, *, keep: int = 2, scored: bool = True, scored_on: str | None = None
    ):
        """Opens or creates the folder.

        Args:
            folder: Where they are.
            keep: How many of the newest to keep.
            scored: Keep the checkpoint with the best score as well.
            scored_on: What scores are measured on. Only scores on the same are compared.

        Raises:
            CheckpointError: The score of an earlier save is damaged.
        """
        self.folder = io.absolute(folder)
        # Orbax creates the folder only in processes that save.
        with io.writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._saving, self._scored_on = 0, scored_on
        complete, usable = (set(find(self.folder)) for find in (complete_steps, usable_steps))
        self.without_digests = complete - usable
        policies = [checkpoint_managers.LatestN(keep)]
        if scored:
            best = checkpoint_managers.BestN(
                get_metric_fn=self._rank, n=1, keep_checkpoints_without_metrics=False
            )
            policies.append(best)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
            best_fn=self._rank if scored else None,
            async_options=ocp.AsyncOptions(
                # Otherwise a save whose folder cannot be made waits for it for minutes.
                create_directories_asynchronously=False,
                post_finalization_callback=lambda: write_digests(self.folder, self._saving),
            ),
        )
        try:
            self._manager = ocp.CheckpointManager(
                self.folder, item_handlers=_item_handlers(), options=options
            )
        except ValueError as error:
            faults = {s: find_damage(self.folder, s) for s in complete_steps(self.folder)}
            damage = list_damage({s: fault for s, fault in faults.items() if fault})
            raise CheckpointError(
                f"the scores of the checkpoints in {self.folder} cannot be read ({error}); remove "
                f"the damaged ones:{damage}"
            ) from error

    def check(self, step: int) -> None:
        """Refuses a damaged checkpoint. All processes call it.

        Raises:
            CheckpointError: Naming the file, and the checkpoint to use instead.
        """
        fault = find_damage(self.folder, step) if jax.process_index() == 0 else None
        fault = sharding.broadcast_text(fault or "")
        if fault:
            older = [other for other in complete_steps(self.folder) if other < step]
            cure = "restore it from a copy; there is no older one"
            if older:
                cure = f"remove {self.folder / str(step)} to use that of step {older[0]}"
            raise CheckpointError(
                f"the checkpoint of step {step} in {self.folder} is damaged: {fault}; {cure}"
            )

    def latest_step(self) -> int | None:
        """Step of the newest complete checkpoint."""
        return max(self._steps(), default=None)

    def best_step(self) -> int | None:
        """Step of the newest complete checkpoint with the highest score; None if none has one.

        Of scores on other videos than the newest one's, none counts.
        """
        metrics = {step: self._manager.metrics(step) for step in self._steps()}
        scored = {step: values for step, values in metrics.items() if values}
        if not scored:
            return None
        newest = scored[max(scored)].get("scored_on")
        return max(
            (values["score"], step)
            for step, values in scored.items()
            if values.get("scored_on") == newest
        )[1]

    def _rank(self, metrics: Mapping[str, Any]) -> float:
        """Orders checkpoints: by score, from 0 to 1, but those scored on other videos come last."""
        return metrics["score"] + (metrics.get("scored_on") == self._scored_on)

    def _steps(self) -> set[int]:
        return set(self._manager.all_steps()) - self.without_digests

    def save(
        self,
        step: int,
        state: Any,
        data: Mapping[str, Any],
        config: ConfigDict,
        score: float | None = None,
    ) -> None:
        """Starts a save in the background; does nothing if the step is saved already.

        `data` is the position in the data, and which videos these are; `score`, the accuracy, finds
        the best checkpoint. With several processes the state must consist of jax arrays.

        Raises:
            CheckpointError: This save failed, or could not be begun after the one before failed.
        """
        if step == self.latest_step():
            return
        failure = None
        try:
            with self._writing():
                # Until then the callback that writes the digests of that save uses `_saving`.
                self._manager.wait_until_finished()
        except CheckpointError as error:  # What failed may have passed.
            failure = error
        self._saving = step
        items = ocp.args.Composite(
            state=ocp.args.PyTreeSave(state),
            data=ocp.args.JsonSave(data),
            config=ocp.args.JsonSave(config_lib.to_json(config)),
        )
        metrics = None
        if score is not None:
            metrics = {"score": float(score), "scored_on": self._scored_on}
        with self._writing():
            self._manager.save(step, args=items, metrics=metrics)
            if failure is not None:
                self._manager.wait_until_finished()
                logging.warning("step %d is saved, but not the one before: %s", step, failure)

    def description(self, step: int | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """The config that a checkpoint was made with and the position in its data, as JSON types.

        Raises:
            CheckpointError: They cannot be read.
        """
        read = ocp.args.JsonRestore()
        items = self._restore(step, config=read, data=read)
        return items["config"], items["data"]

    def restore(self, abstract_state: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """Reads the train state and the data position of the newest checkpoint.

        The arrays go to the shardings of `abstract_state`.

        Raises:
            CheckpointError: The arrays do not fit the model.
        """
        step, read = self.latest_step(), ocp.args.JsonRestore()
        try:
            restored = self._restore(step, state=_arrays(abstract_state), data=read)
            return restored["state"], restored["data"]
        except CheckpointError as error:
            # With clip_norm, earlier versions kept the optimizer's state behind an empty one.
            nested = (optax.EmptyState(), abstract_state.opt_state)
            nested_state = _arrays(abstract_state.replace(opt_state=nested))
            try:
                restored = self._restore(step, state=nested_state, data=read)
            except CheckpointError:
                raise error from None
            state = restored["state"]
            return state.replace(opt_state=state.opt_state[1]), restored["data"]

    def restore_variables(self, step: int, abstract_variables: Mapping[str, Any]) -> dict[str, Any]:
        """Reads the model's variables without the optimizer's state, which is twice their size.

        The arrays go to the shardings of `abstract_variables`.

        Raises:
            CheckpointError: The arrays do not fit the model.
        """
        state = {"params": abstract_variables["params"]}
        if len(abstract_variables) > 1:
            state["model_state"] = {
                name: part for name, part in abstract_variables.items() if name != "params"
            }
        restored = self._restore(step, state=_arrays(state, partial_restore=True))["state"]
        return {"params": restored["params"], **restored.get("model_state", {})}

    def close(self) -> None:
        """Waits for the last save and closes the folder.

        Raises:
            CheckpointError: The last save failed.
        """
        with self._writing():
            self._manager.wait_until_finished()
        self._manager.close()

    def _restore(self, step: int | None, **items: Any) -> Any:
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        except (ValueError, KeyError) as error:
            raise CheckpointError(
                f"the checkpoint of step {step} in {self.folder} does not fit the model: {error}"
            ) from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            saved = self.latest_step()
            kept = "none is complete" if saved is None else f"the newest complete is step {saved}"
            raise CheckpointError(
                f"a checkpoint could not be written to {self.folder} ({error}); {kept}. "
                f"{io.cure(error, self.folder)}, and start again"
            ) from error


def _arrays(abstract: Any, **options: Any) -> ocp.args.PyTreeRestore:
    places = ocp.checkpoint_utils.construct_restore_args(abstract)
    return ocp.args.PyTreeRestore(abstract, restore_args=places, **options)


def _item_handlers() -> dict[str, ocp.CheckpointHandler]:
    arrays = ocp.type_handlers.ArrayHandler(min_slice_bytes_for_replica_parallel=_MIN_SLICE_BYTES)
    types = ocp.type_handlers.create_type_handler_registry(
        (jax.Array, arrays), (np.ndarray, ocp.type_handlers.NumpyHandler())
    )
    return {
        "state": ocp.PyTreeCheckpointHandler(type_handler_registry=types),
        "data": ocp.JsonCheckpointHandler(),
        "config": ocp.JsonCheckpointHandler(),
    }
