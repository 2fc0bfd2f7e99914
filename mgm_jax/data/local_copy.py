"""Copies of a bucket's data on this machine: ArrayRecord and the video decoder read files alone.

Each host copies what it reads once, whatever the number of its processes and of the runs to come.
"""

import concurrent.futures
import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

from absl import flags, logging

from mgm_jax.errors import ConfigError
from mgm_jax.io import BUCKET_PREFIX, file_system, make_path

_CACHE = flags.DEFINE_string(
    "data_cache",
    "~/.cache/mgm_jax/data",
    "Folder for copies of data that a config names by gs://, on a disk of this host.",
)
# Files copied, each a line of JSON; the rest of what is in the folder may be half a file.
_COPIED = ".copied.jsonl"
_AT_ONCE = 8
_LOG_SECONDS = 30


def is_remote(place: str) -> bool:
    """Whether a config's path is one of a bucket."""
    return place.startswith(BUCKET_PREFIX)


def copy_here(place: str, wanted: Callable[[str], bool]) -> str:
    """Copies files below a bucket's folder to this host, except those that are there already.

    A kill loses the files that are half copied. Files that have changed in the bucket are copied
    again.

    Args:
        place: gs://BUCKET/FOLDER.
        wanted: Whether to copy a file, by its path below the folder.

    Returns:
        The folder of this machine where the copies are.

    Raises:
        ConfigError: The bucket cannot be opened, nothing wanted is there, or the disk of
            `--data_cache` has no room for it.
    """
    make_path(place)
    prefix = place.removeprefix(BUCKET_PREFIX).rstrip("/") + "/"
    found = {
        name.removeprefix(prefix): facts
        for name, facts in file_system().find(prefix, detail=True).items()
    }
    files = {name: facts for name, facts in found.items() if wanted(name)}
    if not files:
        raise ConfigError(
            f"nothing to read below {place}; it has "
            + (f"{len(found)} files, such as {min(found)}" if found else "no files")
        )
    value = _CACHE.value if flags.FLAGS.is_parsed() else _CACHE.default
    folder = pathlib.Path(value).expanduser() / prefix
    folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder):
        copied = _read_copied(folder)
        missing = {
            name: facts
            for name, facts in files.items()
            if copied.get(name) != _identity(facts) or not _has_size(folder / name, facts)
        }
        _check_room(place, folder, missing)
        _copy(place, prefix, folder, missing)
    return str(folder)


@contextlib.contextmanager
def _alone_in(folder: pathlib.Path) -> Iterator[None]:
    """Keeps other processes of this host out; the lock of one that dies is free again."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logging.info("another process copies to %s; waiting for it", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _identity(facts: dict[str, Any]) -> list[Any]:
    return [facts["size"], facts["crc32c"]]


def _has_size(file: pathlib.Path, facts: dict[str, Any]) -> bool:
    return file.is_file() and file.stat().st_size == facts["size"]


def _read_copied(folder: pathlib.Path) -> dict[str, list[Any]]:
    copied = {}
    notes = folder / _COPIED
    for line in notes.read_text().splitlines() if notes.exists() else ():
        with contextlib.suppress(ValueError):  # A line that a kill cut short.
            name, identity = json.loads(line)
            copied[name] = identity
    return copied


def _check_room(place: str, folder: pathlib.Path, missing: dict[str, dict[str, Any]]) -> None:
    needed = sum(facts["size"] for facts in missing.values())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ConfigError(
            f"{place}: {needed / 1e9:.1f} GB are to be copied, and the disk of {folder} has "
            f"{free / 1e9:.1f} GB free; name a larger disk with --data_cache=DIR, or mount the "
            "bucket and give the folder (docs/launching.md)"
        )


def _copy(
    place: str, prefix: str, folder: pathlib.Path, missing: dict[str, dict[str, Any]]
) -> None:
    if not missing:
        return
    total = sum(facts["size"] for facts in missing.values())
    logging.info(
        "copying %d files, %.1f GB, from %s to %s", len(missing), total / 1e9, place, folder
    )
    done, log_at = 0, time.monotonic() + _LOG_SECONDS
    with (
        (folder / _COPIED).open("a") as notes,
        concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool,
    ):
        copying = {
            pool.submit(_copy_file, prefix + name, folder / name, facts["size"]): name
            for name, facts in missing.items()
        }
        try:
            for copy in concurrent.futures.as_completed(copying):
                copy.result()
                name = copying[copy]
                notes.write("\n" + json.dumps([name, _identity(missing[name])]))
                notes.flush()
                done += missing[name]["size"]
                if time.monotonic() > log_at:
                    logging.info("copied %.1f of %.1f GB from %s", done / 1e9, total / 1e9, place)
                    log_at = time.monotonic() + _LOG_SECONDS
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _copy_file(name: str, file: pathlib.Path, size: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    file_system().get_file(name, str(part))
    if part.stat().st_size != size:
        raise OSError(f"{BUCKET_PREFIX}{name} has {size} bytes, its copy {part.stat().st_size}")
    os.replace(part, file)
