"""Arrays in .npz files that are whole or not there."""

import contextlib
import pathlib
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import numpy as np


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[BinaryIO]:
    """Opens a file that takes its place once it is complete; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with part.open("xb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_arrays(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a compressed .npz."""
    with replacing(path) as file:
        np.savez_compressed(file, **arrays)


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads an .npz.

    Args:
        path: The file.

    Returns:
        Its arrays by name.

    Raises:
        ValueError: It is not such a file, or it is damaged.
    """
    try:
        with np.load(path) as stored:
            return dict(stored)
    # Without a zip archive np.load takes the file for a single array, which has no `with`.
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"not an .npz file, or damaged: {error}") from error
