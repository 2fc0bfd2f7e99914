"""Local and Google Cloud Storage paths (gs://), used alike, and atomic file writes.

Objects of a bucket appear and are replaced as a whole, cannot grow, and have no folders: renaming a
"folder" takes a request for each of its objects.
"""

import contextlib
import errno
import fcntl
import functools
import importlib.util
import io
import os
import pathlib
import re
import socket
import time
import uuid
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from absl import logging
from etils import epath

from mgm_jax.errors import ConfigError, MgmError, WriteError, printable

AnyPath: TypeAlias = pathlib.Path | epath.Path

BUCKET_PREFIX = "gs://"
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/")  # One slash, as pathlib makes gs:/ of gs://.

_CURES = {
    "ENOSPC EDQUOT EFBIG": "Free space there, or copy the folder to a disk with room and give that",
    "EROFS EACCES EPERM": "It is read-only: allow this user to write there, or give another folder",
    "ENOENT ESTALE": "It was deleted, renamed or unmounted: bring it back, or give another folder",
    "EEXIST ENOTDIR EISDIR": "A file is where a folder belongs: give another folder",
    "EIO": "The disk or the network under it fails: check it, and copy what it holds",
    "ETIMEDOUT": "It took too long: check the disk, and whether the clock was set forward",
}
"""What helps against the errors of the system."""


def check_utf8(place: str | os.PathLike) -> None:
    """Refuses a path that is not UTF-8, since Orbax and ArrayRecord cannot open its files.

    Raises:
        ConfigError: Names the path.
    """
    try:
        os.path.abspath(place).encode()
    except UnicodeEncodeError as error:
        shown = printable(os.path.abspath(place))
        raise ConfigError(f"{shown}: this path is not UTF-8; rename or move the folder") from error


def make_path(place: str | AnyPath) -> AnyPath:
    """The path of a local file or folder, or of gs://BUCKET/PATH if the bucket can be opened.

    Raises:
        ConfigError: Another kind of address, or the bucket cannot be opened.
    """
    address = str(place)
    if not address.startswith(BUCKET_PREFIX):
        check_utf8(address)
        if _ADDRESS.match(address):
            raise ConfigError(
                f"{address}: give a folder, or gs://BUCKET/PATH; mount other storage first "
                "(docs/launching.md)"
            )
        # In --flag=~/runs bash leaves ~ as it is.
        return pathlib.Path(os.path.expanduser(place))
    _open_bucket(address.removeprefix(BUCKET_PREFIX).partition("/")[0])
    return epath.Path(address)


@functools.cache
def _open_bucket(bucket: str) -> None:
    if importlib.util.find_spec("gcsfs") is None:
        raise ConfigError(
            f"gs://{bucket}: buckets need gcsfs: pip install -r requirements-gcs.txt, or mount the "
            "bucket and give the folder (docs/launching.md)"
        )
    import fsspec
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import storage

    # TensorStore and the other processes of the run write to the bucket too.
    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
    try:
        storage.Client().get_bucket(bucket)
    except (exceptions.GoogleAPIError, GoogleAuthError, OSError, ValueError) as error:
        raise ConfigError(
            f"gs://{bucket} cannot be opened ({error}); the bucket must exist, and this machine's "
            "account needs the roles storage.objectUser and storage.legacyBucketReader on it"
        ) from error


def local_path(place: str | os.PathLike, flag: str) -> pathlib.Path:
    """The absolute path of a file or folder on a disk.

    Raises:
        ConfigError: It is in a bucket; names the flag.
    """
    if _ADDRESS.match(str(place)):
        raise ConfigError(f"{flag}={place}: give a folder on a disk, and copy it to a bucket then")
    return pathlib.Path(make_path(place)).absolute()


def in_bucket(path: AnyPath) -> bool:
    """Whether a path is in a bucket."""
    return not isinstance(path, pathlib.Path)


def absolute(path: AnyPath) -> AnyPath:
    """The absolute path; paths in buckets always are."""
    return path if in_bucket(path) else path.absolute()


def file_system() -> Any:
    """The `fsspec` file system of the buckets that `make_path` has opened."""
    import fsspec

    return fsspec.filesystem("gcs")


def files_below(folder: AnyPath) -> list[str]:
    """The files below a folder, by their sorted paths relative to it."""
    if in_bucket(folder):
        prefix = str(folder).removeprefix(BUCKET_PREFIX).rstrip("/") + "/"
        return sorted(name.removeprefix(prefix) for name in file_system().find(prefix))
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def remove_folder(folder: AnyPath) -> None:
    """Removes a folder and everything below it."""
    epath.Path(folder).rmtree()


def upload(folder: pathlib.Path, bucket_folder: epath.Path) -> None:
    """Copies the files below a local folder into a bucket; existing objects are replaced."""
    for name in files_below(folder):
        file_system().put_file(str(folder / name), str(bucket_folder / name))


def cure(error: BaseException, place: AnyPath) -> str:
    """What helps against a failed write, as a sentence without its full stop."""
    if in_bucket(place):
        return "Check that this machine can reach the bucket and may write to it"
    causes: BaseException | None = error
    while causes is not None:
        # Other libraries' errors only mention the number that the system gave.
        found = re.search(r"(?:Errno |os_error_code=')(\d+)", str(causes))
        number = getattr(causes, "errno", None) or (int(found[1]) if found else 0)
        if isinstance(causes, TimeoutError) or "imed out" in str(causes):
            number = errno.ETIMEDOUT
        for names, text in _CURES.items():
            said = (os.strerror(getattr(errno, name)) in str(causes) for name in names.split())
            if errno.errorcode.get(number) in names.split() or any(said):
                return text
        causes = causes.__cause__ or causes.__context__
    return "The message above says why"


@contextlib.contextmanager
def writing(place: AnyPath) -> Iterator[None]:
    """Within this context, a failed write to a place is an error that says what helps.

    Raises:
        WriteError: Writing failed.
    """
    try:
        yield
    except MgmError:
        raise
    except OSError as error:
        raise WriteError(f"{place} cannot be written ({error}). {cure(error, place)}.") from error


@contextlib.contextmanager
def locked(folder: AnyPath, busy: str) -> Iterator[None]:
    """Creates a folder and keeps other programs that lock it out, until this process ends.

    Buckets and some network mounts cannot be locked; the log says so.

    Args:
        folder: The folder; its file `lock` names the process.
        busy: What another process that holds it means, for the message.

    Raises:
        ConfigError: Another process holds it; the message names that.
        WriteError: The folder cannot be written to.
    """
    if in_bucket(folder):
        logging.warning("%s: a bucket cannot be locked; let no other run use this folder", folder)
        yield
        return
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / "lock", "a+")  # noqa: SIM115
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ConfigError(
                f"{busy} by {file.read() or 'another process'}; wait for it, or end it"
            ) from None
        except OSError as error:
            logging.warning("%s cannot be locked (%s); let no other run use it", folder, error)
        with writing(folder):
            file.truncate(0)
            started = time.strftime("%Y-%m-%d %H:%M:%S")
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {started}")
            file.flush()
        yield


@contextlib.contextmanager
def replacing(path: AnyPath) -> Iterator[BinaryIO]:
    """Opens a file that appears, or replaces another, once it is complete; creates its folder."""
    if in_bucket(path):
        content = io.BytesIO()
        yield content
        path.write_bytes(content.getvalue())
        return
    part = path.with_name(f".{uuid.uuid4().hex}")  # Its name may have the longest length already.
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb") as file:
                yield file
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def write_arrays(path: AnyPath, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a compressed .npz file."""
    named: dict[str, Any] = dict(arrays)
    with replacing(path) as file:
        np.savez_compressed(file, **named)


def read_arrays(path: AnyPath, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Reads the arrays of an .npz file, or those of these names that it has.

    Raises:
        ValueError: It is not such a file, or it is damaged.
    """
    try:
        with path.open("rb") as file, np.load(file) as stored:
            return {n: stored[n] for n in stored.files if names is None or n in names}
    # TypeError: np.load reads a file that is no zip archive as one array, which `with` refuses.
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"not an .npz file, or damaged: {error}") from error
