"""Refuses other data or another config than the checkpoint's, and than another process's."""

import contextlib
import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from absl import logging
from ml_collections import ConfigDict

from mgm_jax import config as config_lib
from mgm_jax import io
from mgm_jax.data import manifest
from mgm_jax.data.manifest import Manifest
from mgm_jax.data.records import VideoSource
from mgm_jax.errors import CheckpointError, ConfigError, MgmError
from mgm_jax.io import AnyPath
from mgm_jax.training import sharding
from mgm_jax.training.checkpoints import Checkpoints
from mgm_jax.training.runs import CLASSES_FILE, find_run

# The places of the data differ where each host has its own disk; what is there is compared.
_MAY_DIFFER_BETWEEN_PROCESSES = (
    "data.path",
    "data.root",
    "data.flow_path",
    "data.flow_weights",
    "data.num_workers",
    "data.read_timeout",
    "eval.path",
    "eval.root",
)


@contextlib.contextmanager
def locked_workdir(folder: AnyPath) -> Iterator[None]:
    """Keeps other runs out of a run's folder; all processes call it, the first one locks.

    Raises:
        ConfigError: Another run is at work there, or not all processes see the same folder.
        WriteError: The folder cannot be written to.
    """
    with contextlib.ExitStack() as held:
        failure: MgmError | None = None
        if jax.process_index() == 0:
            try:
                held.enter_context(io.locked(folder, f"--workdir={folder} is in use"))
            except MgmError as error:
                failure = error
        message = sharding.broadcast_text("" if failure is None else str(failure))
        if message:
            raise failure or ConfigError(message)
        _check_shared(folder)
        yield


def _check_shared(folder: AnyPath) -> None:
    """Refuses a folder on the disk of each host: a checkpoint would be in parts nobody can read."""
    if jax.process_count() == 1 or io.in_bucket(folder):
        return
    sign = folder / f".seen_by_all_{uuid.uuid4().hex}"
    if jax.process_index() == 0:
        with io.writing(folder):
            sign.touch()
    sign = folder / sharding.broadcast_text(sign.name)
    seen = sharding.gather_texts("yes" if sign.exists() else "")
    if jax.process_index() == 0:
        sign.unlink(missing_ok=True)
    if not all(seen):
        raise ConfigError(
            f"--workdir={folder}: process {seen.index('')} does not see the folder of process 0; "
            "give one on a shared file system, or gs://BUCKET/PATH"
        )


def check_checkpoint(
    checkpoints: Checkpoints,
    config: ConfigDict,
    videos: Manifest,
    evaluated: VideoSource | None,
) -> None:
    """Refuses to resume with other data or another config, unless `allow_config_change` is set.

    Classes may never change: a classifier's head stands for those that it was trained on. Videos to
    evaluate on may not be among those of the checkpoint, unless `eval.allow_overlap` is set.

    Raises:
        CheckpointError: Naming every value, and the first videos and classes, that differ.
        ConfigError: Naming the first video to evaluate on that the checkpoint was trained on.
    """
    step = checkpoints.latest_step()
    saved_config, data = checkpoints.description(step)
    changes = config_lib.changes(config, saved_config)
    then = data.get("videos")
    if then is None:
        logging.warning("the checkpoint of step %s does not say which videos it saw", step)
        classes = checkpoints.folder.parent / CLASSES_FILE
        then = dict(videos)
        if config.task != "pretrain" and classes.exists():
            then["classes"] = json.loads(classes.read_text())
    other_videos = manifest.differences(then, videos)
    changes += [f"data: {change}" for change in other_videos]
    if not changes:
        return
    if other_videos and config.allow_config_change:
        _refuse_trained_on(f"the checkpoint of step {step}", then, evaluated, config)
    text = "\n  ".join(changes)
    new_classes = config.task != "pretrain" and then["classes"] != videos["classes"]
    if config.allow_config_change and not new_classes:
        logging.warning("resuming with a changed config:\n  %s", text)
        return
    cure = ", or --config.allow_config_change to resume with the new ones"
    if new_classes:
        cure = "; for other classes start a new run with --config.init_from"
    raise CheckpointError(
        f"the checkpoint of step {step} was made with another config or other data:\n  {text}\n"
        f"Give another --workdir to start a new run, the old values and data to resume{cure}"
    )


def check_init_from(init_from: str, config: ConfigDict, evaluated: VideoSource | None) -> None:
    """Refuses to evaluate on videos that a run was trained on from which this one started.

    `init_from` is what this one started from. What that run started from counts as well, and so on,
    as far as the folders can be read.

    Raises:
        ConfigError: There are such videos, and `config.eval.allow_overlap` is not set.
    """
    first, seen = f"config.init_from={init_from}", set[str]()
    while init_from and init_from not in seen:
        name = f"{init_from}, to which {first} goes back," if seen else first
        seen.add(init_from)
        try:
            found = find_run(io.make_path(init_from))
            saved, data = _describe(*found) if found else ({}, {})
        except (MgmError, OSError) as error:  # Gone since, damaged, or closed to this user.
            logging.warning("%s cannot be read, and its videos are not compared: %s", name, error)
            return
        if not data.get("videos"):
            logging.info("%s does not say which videos it saw; they are not compared", name)
        _refuse_trained_on(name, data.get("videos"), evaluated, config)
        init_from = saved.get("init_from", "")


def _describe(workdir: AnyPath, step: int | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The config of a run's checkpoint, the last by default, and its position in the data."""
    with contextlib.closing(Checkpoints(workdir / "checkpoints")) as checkpoints:
        step = checkpoints.latest_step() if step is None else step
        return checkpoints.description(step) if step is not None else ({}, {})


def _refuse_trained_on(
    what: str, videos: Manifest | None, evaluated: VideoSource | None, config: ConfigDict
) -> None:
    if videos is None or evaluated is None or config.eval.get("allow_overlap", False):
        return
    shared = manifest.shared_with(videos, evaluated.facts())
    if shared:
        accept = ", or accept it with --config.eval.allow_overlap"
        raise ConfigError(
            f"{what} was trained on {len(shared)} of the {len(evaluated)} videos to evaluate on, "
            f"the first is {shared[0][0]}. Hold the same out of both, with the same "
            "--config.eval.holdout and --config.seed"
            + accept
            * ("allow_overlap" in config.eval)  # Pretraining has no such value.
        )


def check_configs(config: ConfigDict, workdir: str) -> None:
    """Refuses processes of one run that differ in their configs; all processes call it first.

    Raises:
        ConfigError: Naming the values and the processes.
    """
    flat = config_lib.flatten(config_lib.to_json(config))
    values = {f"--config.{n}": v for n, v in flat if n not in _MAY_DIFFER_BETWEEN_PROCESSES}
    _check_processes(values | {"--workdir": str(workdir)}, "give all the same command")


def check_videos(sources: Mapping[str, VideoSource | None]) -> None:
    """Refuses processes of one run that read different data (by its use); all processes call it.

    Raises:
        ConfigError: Naming videos or classes, and the processes.
    """
    if jax.process_count() > 1:
        videos = {f"videos {use}": manifest.make_manifest(s) for use, s in sources.items() if s}
        _check_processes(videos, "copy the same data to all hosts")


def _check_processes(values: Mapping[str, Any], cure: str) -> None:
    text = json.dumps(values)
    digests = sharding.gather_texts(hashlib.sha256(text.encode()).hexdigest())
    if len(set(digests)) == 1:
        return
    first, own = json.loads(sharding.broadcast_text(text)), json.loads(text)
    changes = []
    for name in sorted(first.keys() | own.keys()):
        one, other = first.get(name), own.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            changes += [f"{name}: {change}" for change in manifest.differences(one, other)]
        elif one != other:
            changes.append(f"{name}={other!r}, not {one!r}")
    found = "".join(
        f"\n  process {number}:\n    {text}"
        for number, text in enumerate(sharding.gather_texts("\n    ".join(changes)))
        if text
    )
    raise ConfigError(f"processes of this run differ from process 0; {cure}:{found}")
