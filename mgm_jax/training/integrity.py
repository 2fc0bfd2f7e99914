"""Which checkpoints are complete, which are damaged, and what interrupted saves left behind.

A save is complete once its folder has its final name; in a bucket, once it has a commit file.
Damage after that is detected by SHA-256 digests of its files.
"""

import concurrent.futures
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping

import jax
import orbax.checkpoint as ocp
from absl import logging

from mgm_jax import io
from mgm_jax.errors import CheckpointError
from mgm_jax.io import AnyPath
from mgm_jax.training import sharding

DIGESTS_FILE = "files.sha256"
"""Name of the list of digests, in the format of `sha256sum`."""

_COMMIT = "commit_success.txt"
# Orbax writes these after the digests; restoring needs neither.
_WRITTEN_LAST = ("_CHECKPOINT_METADATA", _COMMIT)
_UNFINISHED = ocp.utils.TMP_DIR_SUFFIX


def complete_steps(folder: AnyPath) -> list[int]:
    """Steps of the complete checkpoints, the newest first."""
    return sorted((int(path.name) for path in _saves(folder, complete=True)), reverse=True)


def usable_steps(folder: AnyPath) -> list[int]:
    """Complete checkpoints that have digests, the newest first.

    One without is an interrupted copy; only if all are, they are of an earlier version.
    """
    steps = complete_steps(folder)
    listed = [step for step in steps if (folder / str(step) / DIGESTS_FILE).exists()]
    if listed or io.in_bucket(folder):
        return listed
    return [step for step in steps if (folder / str(step) / "state").exists()]


def write_digests(folder: AnyPath, step: int) -> None:
    """Writes the digests of a checkpoint whose files are all written, before it is complete."""
    checkpoint = folder / f"{step}{'' if io.in_bucket(folder) else _UNFINISHED}"
    lines = [f"{digest}  {name}\n" for name, digest in _digests(checkpoint, _files(checkpoint))]
    (checkpoint / DIGESTS_FILE).write_text("".join(lines))


def find_damage(folder: AnyPath, step: int, *, contents: bool = True) -> str | None:
    """What is wrong with the first damaged file of a complete checkpoint; None if it is intact.

    Without `contents`, files need only exist.
    """
    checkpoint = folder / str(step)
    if not (checkpoint / DIGESTS_FILE).exists():
        if step not in usable_steps(folder):
            return f"{DIGESTS_FILE} is missing"
        logging.warning("%s has no %s, so its files are not checked", checkpoint, DIGESTS_FILE)
        return None
    try:
        lines = (checkpoint / DIGESTS_FILE).read_text().splitlines()
        listed = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    except ValueError:
        return f"{DIGESTS_FILE} is not a list of digests"
    files = set(_files(checkpoint))
    if missing := sorted(listed.keys() - files):
        return f"{missing[0]} is missing"
    if added := sorted(files - listed.keys()):
        return f"{DIGESTS_FILE} does not list {added[0]}"
    try:
        for name, digest in _digests(checkpoint, listed if contents else ()):
            if digest != listed[name]:
                return f"{name} has changed since it was written"
    except OSError as error:
        return f"a file cannot be read ({error})"
    return None


def list_damage(damage: Mapping[int, str]) -> str:
    """Damage by step, as lines of a message."""
    return "".join(f"\n  step {step}: {fault}" for step, fault in damage.items())


def recover(folder: AnyPath) -> None:
    """Cleans up the checkpoints of a run before it resumes; call it before they are opened.

    Damaged checkpoints newer than the newest intact one are renamed to STEP.damaged, and unfinished
    saves are removed. All processes call it; the first one does the work. The folder need not
    exist.

    Raises:
        CheckpointError: All checkpoints are damaged; nothing is changed.
    """
    damage, intact = {}, None
    if jax.process_index() == 0:
        steps = complete_steps(folder)
        for step in steps:
            fault = find_damage(folder, step)
            if fault is None:
                intact = step
                break
            damage[step] = fault
        if intact is not None:
            for step in damage:
                _set_aside(folder, step)
            if io.in_bucket(folder):
                _remove_half_deleted(folder, [step for step in steps if step < intact])
        for unfinished in _saves(folder, complete=False):
            io.remove_folder(unfinished)
            logging.info("removed the unfinished save %s", unfinished)
    text = sharding.broadcast_text(json.dumps([list(damage.items()), intact]))
    pairs, intact = json.loads(text)
    if pairs and intact is None:
        raise CheckpointError(
            f"every checkpoint in {folder} is damaged:{list_damage(dict(pairs))}\nRestore one from "
            "a copy, or give another --workdir to start again"
        )
    if pairs:
        logging.warning(
            "damaged checkpoints in %s were renamed to STEP.damaged:%s\n"
            "resuming from the one before, of step %d",
            folder,
            list_damage(dict(pairs)),
            intact,
        )


def _saves(folder: AnyPath, *, complete: bool) -> list[AnyPath]:
    numbered = [path for path in folder.glob("[0-9]*") if path.name.isdigit()]
    if io.in_bucket(folder):
        return [path for path in numbered if (path / _COMMIT).exists() == complete]
    return numbered if complete else list(folder.glob(f"*{_UNFINISHED}"))


def _set_aside(folder: AnyPath, step: int) -> None:
    checkpoint, aside = folder / str(step), folder / f"{step}.damaged"
    if aside.exists():
        io.remove_folder(aside)
    if io.in_bucket(folder):
        # Objects are renamed one by one; a partly renamed checkpoint must not count as complete.
        (checkpoint / _COMMIT).unlink()
    checkpoint.rename(aside)


def _remove_half_deleted(folder: AnyPath, steps: list[int]) -> None:
    """Finishes interrupted deletions of old checkpoints; a bucket deletes object by object."""
    for step in steps:
        if find_damage(folder, step, contents=False):
            io.remove_folder(folder / str(step))
            logging.info("removed what was left of %s", folder / str(step))


def _files(checkpoint: AnyPath) -> list[str]:
    """The files of a checkpoint that have digests."""
    names = [(name, name.rpartition("/")[2]) for name in io.files_below(checkpoint)]
    # Hidden files belong to the file system, such as NFS's deleted files that are still open.
    return [
        name
        for name, last in names
        if name not in _WRITTEN_LAST and last != DIGESTS_FILE and not last.startswith(".")
    ]


def _digests(checkpoint: AnyPath, names: Collection[str]) -> Iterator[tuple[str, str]]:
    def digest(name: str) -> str:
        with (checkpoint / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    with concurrent.futures.ThreadPoolExecutor() as pool:
        yield from zip(names, pool.map(digest, names), strict=True)
