"""SHA-256 digests of a folder's files, to detect damage later."""

import concurrent.futures
import hashlib
from collections.abc import Collection

from mgm_jax.io import AnyPath, files_below

FILE = "files.sha256"
"""Name of the list of digests, in the format of `sha256sum`."""


def write(folder: AnyPath, *, exclude: Collection[str] = ()) -> None:
    """Writes the digests of all files below a folder, except for those that still change."""
    names = [name for name in _files(folder) if name not in exclude]
    lines = [f"{digest}  {name}\n" for name, digest in _digests(folder, names).items()]
    (folder / FILE).write_text("".join(lines))


def find_damage(
    folder: AnyPath, *, exclude: Collection[str] = (), contents: bool = True
) -> str | None:
    """What is wrong with the first damaged file below a folder; None if every file is intact.

    Files to `exclude` may have changed or been added since the digests were written. Without
    `contents`, files need only exist.
    """
    try:
        lines = (folder / FILE).read_text().splitlines()
        listed = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    except ValueError:
        return f"{FILE} is not a list of digests"
    files = set(_files(folder)) - set(exclude)
    if missing := sorted(listed.keys() - files):
        return f"{missing[0]} is missing"
    if added := sorted(files - listed.keys()):
        return f"{FILE} does not list {added[0]}"
    for name, digest in _digests(folder, listed if contents else ()).items():
        if digest != listed[name]:
            return f"{name} has changed since it was written"
    return None


def _files(folder: AnyPath) -> list[str]:
    # Hidden files belong to the file system, such as NFS's deleted files that are still open.
    return [
        name
        for name in files_below(folder)
        if (last := name.rpartition("/")[2]) != FILE and not last.startswith(".")
    ]


def _digests(folder: AnyPath, names: Collection[str]) -> dict[str, str]:
    def digest(name: str) -> str:
        with (folder / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    with concurrent.futures.ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(digest, names), strict=True))
