"""Which files of a bucket each kind of source reads; they are copied to this machine first."""

import csv
import os
import pathlib
from collections.abc import Callable

from mgm_jax.data.local_copy import copy_here, is_remote


def make_local(kind: str, path: str, split: str, root: str) -> tuple[str, str]:
    """Copies what a source reads to this machine, where it is in a bucket.

    Args:
        kind: See `sources.make_source`.
        path: See there.
        split: See there.
        root: See there.

    Returns:
        The path and the root on this machine.

    Raises:
        ConfigError: There is nothing to copy, or no room for it.
    """
    if is_remote(path) or is_remote(root):
        return _COPIES[kind](path, split, root)
    return path, root


def _copy_records(path: str, split: str, root: str) -> tuple[str, str]:
    import tensorflow_datasets as tfds

    local = copy_here(path, lambda name: ".array_record" not in name)
    # What is wrong with the dataset, or that it lacks the split, is for the source to say.
    if os.path.exists(os.path.join(local, "dataset_info.json")):
        splits = tfds.builder_from_directory(local).info.splits
        if split in splits:
            copy_here(path, frozenset(splits[split].filenames).__contains__)
    return local, root


def _copy_folder(path: str, split: str, root: str) -> tuple[str, str]:
    return copy_here(path, lambda name: True), root


def _copy_csv(path: str, split: str, root: str) -> tuple[str, str]:
    if is_remote(path):
        folder, _, name = path.rpartition("/")
        root = root or folder
        path = os.path.join(copy_here(folder, name.__eq__), name)
    if is_remote(root):
        with pathlib.Path(path).open(newline="") as lines:
            rows = [row for row in csv.DictReader(lines) if row.get("split", split) == split]
        root = copy_here(root, {row.get("path") for row in rows}.__contains__)
    return path, root


_COPIES: dict[str, Callable[[str, str, str], tuple[str, str]]] = {
    "records": _copy_records,
    "folder": _copy_folder,
    "csv": _copy_csv,
}
