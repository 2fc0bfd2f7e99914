"""Arrays in .npz files that are whole or not there."""

import contextlib
import io
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import numpy as np

from mgm_jax.paths import AnyPath, in_bucket


@contextlib.contextmanager
def replacing(path: AnyPath) -> Iterator[BinaryIO]:
    """Opens a file that takes its place once it is complete; makes its folder."""
    if in_bucket(path):
        content = io.BytesIO()
        yield content
        path.write_bytes(content.getvalue())
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with part.open("xb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_arrays(path: AnyPath, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a compressed .npz."""
    with replacing(path) as file:
        np.savez_compressed(file, **arrays)


def read_arrays(path: AnyPath) -> dict[str, np.ndarray]:
    """Reads an .npz.

    Args:
        path: The file.

    Returns:
        Its arrays by name.

    Raises:
        ValueError: It is not such a file, or it is damaged.
    """
    try:
        with path.open("rb") as file, np.load(file) as stored:
            return dict(stored)
    # Without a zip archive np.load takes the file for a single array, which has no `with`.
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"not an .npz file, or damaged: {error}") from error
