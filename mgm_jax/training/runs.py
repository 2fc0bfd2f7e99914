"""A run on disk, opened for use: its config, its classes, its model and its state."""

import dataclasses
import json
from collections.abc import Sequence

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mgm_jax import config as config_lib
from mgm_jax.errors import CheckpointError
from mgm_jax.io import AnyPath, make_path, replacing
from mgm_jax.training import sharding, tasks
from mgm_jax.training.checkpoints import Checkpoints
from mgm_jax.training.state import TrainState, abstract_state

CONFIG_FILE = "config.json"
CLASSES_FILE = "classes.json"


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained model and what made it.

    Attributes:
        config: The run's config.
        class_names: Classes of its data.
        task: What it computes.
        state: State of the checkpoint.
        step: Its step.
        mesh: Where the state lives.
    """

    config: ConfigDict
    class_names: tuple[str, ...]
    task: tasks.Task
    state: TrainState
    step: int
    mesh: Mesh


def describe_run(folder: AnyPath, config: ConfigDict, class_names: Sequence[str]) -> None:
    """Writes what `open_run` needs besides the checkpoint, in one process for all."""
    if jax.process_index():
        return
    for name, facts in (
        (CONFIG_FILE, config_lib.to_json(config)),
        (CLASSES_FILE, list(class_names)),
    ):
        with replacing(folder / name) as file:
            file.write(json.dumps(facts, indent=2).encode())


def read_config(workdir: str | AnyPath) -> ConfigDict:
    """The config of a run.

    Raises:
        CheckpointError: There is no run in the folder.
    """
    file = make_path(workdir) / CONFIG_FILE
    if not file.exists():
        raise CheckpointError(f"no run at {workdir}: it has no {CONFIG_FILE}; give its --workdir")
    return ConfigDict(config_lib.upgrade(json.loads(file.read_text())))


def open_run(
    workdir: str | AnyPath,
    *,
    checkpoint: str = "last",
    config: ConfigDict | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Run:
    """Restores a run's model.

    Args:
        workdir: Folder of the run.
        checkpoint: "last", or "best" by the accuracy during training.
        config: Instead of the run's own, such as a copy with other values.
        devices: Where to restore to; the first device by default.

    Returns:
        The run.

    Raises:
        CheckpointError: There is no run, no complete checkpoint, or none that was evaluated, or it
            is damaged.
    """
    workdir = make_path(workdir)
    config = config or read_config(workdir)
    classes = workdir / CLASSES_FILE
    class_names = tuple(json.loads(classes.read_text())) if classes.exists() else ()
    checkpoints = Checkpoints(workdir / "checkpoints")
    try:
        best = checkpoint == "best"
        step = checkpoints.best_step() if best else checkpoints.latest_step()
        if step is None:
            raise CheckpointError(
                f"the run at {workdir} has no complete checkpoint yet"
                + (" that was evaluated; use the last one" if best else "")
            )
        checkpoints.check(step)
        task = tasks.make_task(config, class_names)
        mesh = sharding.make_mesh(
            {"data": -1, "fsdp": 1, "tensor": 1}, devices or jax.devices()[:1]
        )
        state, _ = checkpoints.restore(abstract_state(task.init_fn, mesh), step)
    finally:
        checkpoints.close()
    return Run(config, class_names, task, state, step, mesh)
