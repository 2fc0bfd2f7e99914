"""The files of checkpoints: which are complete, which are damaged, and what a kill left over.

A checkpoint is complete or not there: on disk it gets its name when all is written, in a bucket a
file that says so. What happens to its files later shows by their digests.
"""

import json
from collections.abc import Mapping, Sequence

import jax
import orbax.checkpoint as ocp
from absl import logging

from mgm_jax import io
from mgm_jax.errors import CheckpointError
from mgm_jax.io import AnyPath
from mgm_jax.training import digests, sharding

_COMMIT = "commit_success.txt"
# Orbax writes these after the digests; restoring needs neither.
_WRITTEN_LAST = ("_CHECKPOINT_METADATA", _COMMIT)
_UNFINISHED = ocp.utils.TMP_DIR_SUFFIX


def write_digests(folder: AnyPath, step: int) -> None:
    """Writes the digests of a checkpoint that is written but not complete yet."""
    suffix = "" if io.in_bucket(folder) else _UNFINISHED
    digests.write(folder / f"{step}{suffix}", except_for=_WRITTEN_LAST)


def recover(folder: AnyPath) -> None:
    """Makes the newest intact checkpoint the newest, before the one run that writes them opens it.

    Damaged checkpoints after it are set aside, as STEP.damaged, and what is left of unfinished
    saves is removed. Every process calls it; the first one decides and acts.

    Args:
        folder: The run's checkpoints; need not exist.

    Raises:
        CheckpointError: All checkpoints are damaged; they are left as they are.
    """
    damaged, intact = {}, None
    if jax.process_index() == 0:
        complete = steps(folder)
        for step in complete:
            fault = find_damage(folder, step)
            if fault is None:
                intact = step
                break
            damaged[step] = fault
        if intact is not None:
            for step in damaged:
                _set_aside(folder, step)
            _remove_half_removed(folder, [step for step in complete if step < intact])
        for unfinished in _unfinished(folder):
            io.remove_folder(unfinished)
            logging.info("removed the unfinished save %s", unfinished)
    damaged, intact = json.loads(sharding.broadcast_text(json.dumps([damaged, intact])))
    if damaged and intact is None:
        raise CheckpointError(
            f"every checkpoint in {folder} is damaged:{listing(damaged)}\nBring one back from a "
            "copy, or give another --workdir to start anew"
        )
    if damaged:
        logging.warning(
            "damaged checkpoints in %s are set aside as STEP.damaged:%s\n"
            "going on from the one before, of step %d",
            folder,
            listing(damaged),
            intact,
        )


def _numbered(folder: AnyPath) -> list[AnyPath]:
    return [path for path in folder.glob("[0-9]*") if path.name.isdigit()]


def steps(folder: AnyPath) -> list[int]:
    """Steps of the complete checkpoints, the newest first."""
    complete = (
        path for path in _numbered(folder) if not io.in_bucket(folder) or (path / _COMMIT).exists()
    )
    return sorted((int(path.name) for path in complete), reverse=True)


def _unfinished(folder: AnyPath) -> list[AnyPath]:
    if io.in_bucket(folder):
        return [path for path in _numbered(folder) if not (path / _COMMIT).exists()]
    return list(folder.glob(f"*{_UNFINISHED}"))


def _set_aside(folder: AnyPath, step: int) -> None:
    checkpoint, aside = folder / str(step), folder / f"{step}.damaged"
    if aside.exists():
        io.remove_folder(aside)
    if io.in_bucket(folder):
        # Objects move one by one; what is half moved is not to count as complete.
        (checkpoint / _COMMIT).unlink()
    checkpoint.rename(aside)


def _remove_half_removed(folder: AnyPath, old: Sequence[int]) -> None:
    """Removes what a kill left of old checkpoints that were being removed, object by object."""
    for step in old if io.in_bucket(folder) else ():
        if find_damage(folder, step, contents=False):
            io.remove_folder(folder / str(step))
            logging.info("removed the rest of %s", folder / str(step))


def find_damage(folder: AnyPath, step: int, *, contents: bool = True) -> str | None:
    """What is wrong with a complete checkpoint.

    Args:
        folder: The run's checkpoints.
        step: Its step.
        contents: Whether to read its files, or see only which there are.

    Returns:
        What is wrong with its first damaged file; None where all are as they were written.
    """
    checkpoint = folder / str(step)
    if not (checkpoint / digests.FILE).exists():
        if io.in_bucket(folder):
            return f"{digests.FILE} is missing"
        logging.warning("%s has no %s, so its files are not checked", checkpoint, digests.FILE)
        return None
    return digests.find_damage(checkpoint, except_for=_WRITTEN_LAST, contents=contents)


def listing(damaged: Mapping[int | str, str]) -> str:
    """Damaged checkpoints, by step, in lines for a message."""
    return "".join(f"\n  step {step}: {fault}" for step, fault in damaged.items())
