"""Checkpoints on disk with Orbax: the train state, the data position and the config together."""

import pathlib
from typing import Any

import orbax.checkpoint as ocp
from absl import logging
from ml_collections import ConfigDict
from orbax.checkpoint import checkpoint_managers

from mgm_jax import config as config_lib
from mgm_jax.errors import CheckpointError


class Checkpoints:
    """The checkpoints of one run, written in the background; the newest few and the best are kept.

    Close it before leaving: an unfinished save is lost otherwise.
    """

    def __init__(self, folder: pathlib.Path, *, keep: int = 2, scored: bool = True):
        """Opens or makes the folder.

        Args:
            folder: Where the run's checkpoints are, one numbered folder each.
            keep: How many of the newest to keep.
            scored: Whether saves have a score, so that the best is kept as well.
        """
        self._folder = folder.absolute()
        # Orbax makes the folder itself only in processes that save.
        self._folder.mkdir(parents=True, exist_ok=True)
        policies = [checkpoint_managers.LatestN(keep)]
        if scored:
            best = checkpoint_managers.BestN(
                get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False
            )
            policies.append(best)
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
                best_fn=_score if scored else None,
            ),
        )

    def latest_step(self) -> int | None:
        """Step of the newest complete checkpoint."""
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """Step of the complete checkpoint with the highest score; None where none has one."""
        scored = [step for step in self._manager.all_steps() if self._manager.metrics(step)]
        return self._manager.best_step() if scored else None

    def save(
        self,
        step: int,
        state: Any,
        data: dict[str, int],
        config: ConfigDict,
        score: float | None = None,
    ) -> None:
        """Starts saving; waits for the save before, so its failure shows here.

        Args:
            step: Steps done.
            state: Train state, of arrays on the devices.
            data: Position of the data iterator.
            config: The run's config.
            score: What the model was found to be worth at this step, more is better; None where it
                was not evaluated.

        Raises:
            CheckpointError: This save or the one before failed.
        """
        if step == self.latest_step():
            return
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            data=ocp.args.JsonSave(data),
            config=ocp.args.JsonSave(config_lib.to_json(config)),
        )
        try:
            self._manager.save(
                step, args=items, metrics=None if score is None else {"score": float(score)}
            )
        except Exception as error:
            raise self._failure(error) from error

    def config(self) -> dict[str, Any]:
        """The config that the newest checkpoint was made with, as JSON types."""
        items = ocp.args.Composite(config=ocp.args.JsonRestore())
        return self._manager.restore(self.latest_step(), args=items)["config"]

    def restore(self, abstract_state: Any, step: int | None = None) -> tuple[Any, dict[str, int]]:
        """Reads a checkpoint onto this run's devices.

        Args:
            abstract_state: Tree of `jax.ShapeDtypeStruct` with shardings.
            step: Step of the checkpoint; the newest by default.

        Returns:
            The train state, and the position of the data iterator.

        Raises:
            CheckpointError: The checkpoint's arrays are not those of the state.
        """
        step = self.latest_step() if step is None else step
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract_state), data=ocp.args.JsonRestore()
        )
        try:
            restored = self._manager.restore(step, args=items)
        except (ValueError, KeyError) as error:
            raise CheckpointError(
                f"the checkpoint of step {step} in {self._folder} does not fit the model: {error}"
            ) from error
        return restored["state"], restored["data"]

    def close(self) -> None:
        """Waits for the last save and lets go of the folder.

        Raises:
            CheckpointError: The last save failed.
        """
        try:
            self._manager.wait_until_finished()
            self._manager.close()
        except Exception as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> CheckpointError:
        saved = self.latest_step()
        kept = "none is complete" if saved is None else f"the newest complete one is step {saved}"
        return CheckpointError(
            f"a checkpoint could not be written to {self._folder} ({error}); {kept}. Free space "
            "there, or copy the folder to a disk with room and give it as --workdir, and start "
            "again"
        )


def _score(metrics: dict[str, float]) -> float:
    return metrics["score"]


def refuse_other_config(checkpoints: Checkpoints, config: ConfigDict) -> None:
    """Refuses to go on from a checkpoint made with another config, unless told to.

    Raises:
        CheckpointError: Naming every value that differs.
    """
    changes = config_lib.differences(config, checkpoints.config())
    if not changes:
        return
    listing = "\n  ".join(changes)
    if config.allow_config_change:
        logging.warning("going on with a changed config:\n  %s", listing)
        return
    raise CheckpointError(
        f"the checkpoint of step {checkpoints.latest_step()} was made with another config:\n"
        f"  {listing}\nGive another --workdir to start anew, the old values to go on, or "
        "--config.allow_config_change to go on with the new ones"
    )
