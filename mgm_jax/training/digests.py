"""Digests of a folder's files, by which damage is found later: as `sha256sum` writes them."""

import concurrent.futures
import hashlib
from collections.abc import Collection

from mgm_jax.io import AnyPath, file_size, files_below

FILE = "files.sha256"


def write(folder: AnyPath, *, except_for: Collection[str] = ()) -> None:
    """Writes the digests of all files below a folder into it, for `sha256sum --check` too.

    Args:
        folder: The folder.
        except_for: Files that are still to change, by their paths below the folder.
    """
    names = [name for name in _files(folder) if name not in except_for]
    lines = [f"{digest}  {name}\n" for name, digest in _digests(folder, names).items()]
    (folder / FILE).write_text("".join(lines))


def find_damage(
    folder: AnyPath, *, except_for: Collection[str] = (), contents: bool = True
) -> str | None:
    """Compares the files below a folder with their digests, which it must have.

    Args:
        folder: The folder.
        except_for: Files that have changed or come since.
        contents: Whether to read the files, or see only which there are.

    Returns:
        What is wrong with the first damaged file; None where all are as they were written.
    """
    try:
        listed = {
            name: digest
            for digest, name in (
                line.split("  ", 1) for line in (folder / FILE).read_text().splitlines()
            )
        }
    except ValueError:
        return f"{FILE} is no list of digests"
    files = set(_files(folder)) - set(except_for)
    if missing := sorted(listed.keys() - files):
        return f"{missing[0]} is missing"
    if added := sorted(files - listed.keys()):
        return f"{FILE} does not list {added[0]}"
    for name, digest in _digests(folder, listed if contents else ()).items():
        if digest != listed[name]:
            size = file_size(folder / name)
            return f"{name} is not what was written; it has {size} bytes now"
    return None


def _files(folder: AnyPath) -> list[str]:
    # Hidden files are those of the file system, such as NFS's of deleted files still in use.
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
