"""The folder of a run: its config, its classes and its trained model."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

import flax.linen as nn
import jax
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mgm_jax import config as config_lib
from mgm_jax.data.manifest import Manifest
from mgm_jax.errors import CheckpointError, ConfigError
from mgm_jax.io import AnyPath, absolute, make_path, replacing
from mgm_jax.training import sharding, tasks
from mgm_jax.training.checkpoints import Checkpoints
from mgm_jax.training.state import abstract_state

CONFIG_FILE = "config.json"
CLASSES_FILE = "classes.json"

_OF_THE_MODEL = ("task", "model.*", "probe.*", "norm_pix_*")
_OF_TRAINING_ALONE = (
    "model.dtype",
    "model.drop_path",
    "model.head_dropout",
    "model.head_init_scale",
    "model.init",
    "probe.held_out",
)


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained model, for inference.

    Attributes:
        class_names: Classes of the training data.
        variables: The model's variables, as `model.apply` takes them, on the devices of `mesh`.
        step: Number of training steps done.
        manifest: The videos it was trained on (`data.manifest`); None for runs of earlier versions.
        saved_config: What the checkpoint was made with; None for models of other programs.
    """

    config: ConfigDict
    class_names: tuple[str, ...]
    model: nn.Module
    variables: dict[str, Any]
    step: int
    mesh: Mesh
    manifest: Manifest | None = None
    saved_config: ConfigDict | None = None

    @property
    def params(self) -> Mapping[str, Any]:
        """The model's parameters."""
        return self.variables["params"]


def describe_run(folder: AnyPath, config: ConfigDict, class_names: Sequence[str]) -> None:
    """Writes what `load_run` needs besides the checkpoint; only the first process writes."""
    if jax.process_index():
        return
    for name, content in (
        (CONFIG_FILE, config_lib.to_json(config)),
        (CLASSES_FILE, list(class_names)),
    ):
        with replacing(folder / name) as file:
            file.write(json.dumps(content, indent=2).encode())


def find_run(folder: AnyPath) -> tuple[AnyPath, int | None] | None:
    """The run that a folder is, or is a checkpoint of: its folder, and the checkpoint's step."""
    if (folder / "checkpoints").is_dir():
        return folder, None
    whole = absolute(folder)
    if whole.parent.name == "checkpoints" and whole.name.isdigit() and whole.is_dir():
        return whole.parent.parent, int(whole.name)
    return None


def read_config(workdir: str | AnyPath) -> ConfigDict:
    """Reads the config of a run, for any machine: attention as is best there.

    Raises:
        CheckpointError: There is no run in the folder.
        ConfigError: An earlier version made it, with an option that no longer exists.
    """
    return _for_any_machine(json.loads(_config_file(workdir).read_text()))


def _config_file(workdir: str | AnyPath) -> AnyPath:
    file = make_path(workdir) / CONFIG_FILE
    if not file.exists():
        raise CheckpointError(f"no run at {workdir}: it has no {CONFIG_FILE}; give its --workdir")
    return file


def _for_any_machine(saved: Mapping[str, Any]) -> ConfigDict:
    config = ConfigDict(config_lib.upgrade(saved))
    config.model.attention = "auto"
    return config


def load_run(
    workdir: str | AnyPath,
    *,
    checkpoint: str | int = "last",
    config: ConfigDict | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Run:
    """Loads the model of a run, without the optimizer's state.

    Every file of the checkpoint is verified against its digest first, those of the optimizer too:
    Orbax stores all arrays of the state together. `checkpoint` is "last", "best" by the accuracy
    during training, or a step. `config` replaces that of the checkpoint, to use other data. The
    variables go to the first local device by default.

    Raises:
        CheckpointError: There is no run, no complete checkpoint, or none that was evaluated, or it
            is damaged, or the config's model is another.
        ConfigError: `checkpoint` is another word.
    """
    if isinstance(checkpoint, str) and checkpoint not in ("last", "best"):
        raise ConfigError(f"checkpoint={checkpoint!r} must be 'last', 'best' or a step")
    workdir = make_path(workdir)
    _config_file(workdir)  # Opening the checkpoints of no run would make a folder for them.
    checkpoints = Checkpoints(workdir / "checkpoints")
    try:
        best = checkpoint == "best"
        step = checkpoints.best_step() if best else checkpoints.latest_step()
        step = checkpoint if isinstance(checkpoint, int) else step
        if step is None:
            raise CheckpointError(
                f"the run at {workdir} has no complete checkpoint yet"
                + (" that was evaluated; use the last one" if best else "")
            )
        unverified = sorted(checkpoints.without_digests)
        if isinstance(checkpoint, str) and unverified and (best or unverified[-1] > step):
            logging.warning(
                "step %d is used, not the checkpoint of step %d in %s: it has no digests; it is "
                "being written, or a copy of it was interrupted",
                *(step, unverified[-1], checkpoints.folder),
            )
        checkpoints.check(step)
        saved, data = checkpoints.description(step)
        saved_config = _for_any_machine(saved)
        config = config or saved_config
        _check_model(config, saved_config, workdir)
        manifest, classes = data.get("videos"), workdir / CLASSES_FILE
        class_names = ()
        if manifest:
            class_names = tuple(manifest["classes"])
        elif classes.exists():  # Earlier versions have no manifest.
            class_names = tuple(json.loads(classes.read_text()))
        model = tasks.make_model(config, len(class_names))
        mesh = sharding.make_mesh(
            {"data": -1, "fsdp": 1, "tensor": 1}, devices or jax.local_devices()[:1]
        )
        abstract = abstract_state(
            lambda: dict(tasks.init_variables(config, model, jax.random.key(0))), mesh
        )
        variables = checkpoints.restore_variables(step, abstract)
    finally:
        checkpoints.close()
    return Run(config, class_names, model, variables, step, mesh, manifest, saved_config)


def _check_model(config: ConfigDict, saved: ConfigDict, workdir: AnyPath) -> None:
    def differs(name: str) -> bool:
        return any(fnmatch(name, one) for one in _OF_THE_MODEL) and name not in _OF_TRAINING_ALONE

    changes = config_lib.changes(config, config_lib.to_json(saved))
    found = [change for change in changes if differs(change.partition(":")[0])]
    if found:
        raise CheckpointError(
            f"the run at {workdir} has another model than the config:\n  "
            + "\n  ".join(found)
            + "\nGive the recipe, its arguments and the flags that the run was trained with."
        )
