"""The output folder of a dataset: locked while it is built, and resumed after an interruption.

Until the dataset OUT is complete, it is built in a folder beside it:

    .OUT.incomplete/
        request.json       what was asked for; a different request is refused
        lock               held by the running process; names it
        dataset/           shards; becomes OUT
        finished/          one JSON file per complete shard

Every file, and OUT itself, appears by a rename when it is complete.
"""

import contextlib
import json
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from data_prep import records
from data_prep.entries import Listing
from data_prep.shards import Shard, ShardResult
from mgm_jax.errors import ConfigError
from mgm_jax.io import locked

REPORT = "report.json"


def work_folder(out: pathlib.Path) -> pathlib.Path:
    """The folder in which `out` is built."""
    return out.parent / f".{out.name}.incomplete"


def is_complete(out: pathlib.Path, request: Mapping[str, Any]) -> bool:
    """Whether `out` holds the requested dataset; False if it is absent or empty.

    Raises:
        ConfigError: `out` holds something else.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out: {out} is a file; name a folder for the dataset")
    if not out.is_dir() or not any(out.iterdir()):
        return False
    try:
        found = json.loads((out / "metadata.json").read_text())["request"]
    except (OSError, ValueError, LookupError) as error:
        raise ConfigError(
            f"--out: {out} holds something else; name another folder, or delete it"
        ) from error
    _check_same(found, request, f"{out} holds another dataset")
    return True


def _check_same(found: Mapping[str, Any], request: Mapping[str, Any], message: str) -> None:
    differences = ", ".join(
        f"{key} is {found.get(key)!r}, not {request.get(key)!r}"
        for key in sorted(found.keys() | request.keys())
        if found.get(key) != request.get(key)
    )
    if differences:
        raise ConfigError(
            f"--out: {message} ({differences}); name another folder, or delete it first"
        )


@contextlib.contextmanager
def building(out: pathlib.Path, request: Mapping[str, Any]) -> Iterator[pathlib.Path]:
    """Creates and locks the work folder, and yields it.

    Raises:
        ConfigError: It belongs to a different request, or another process is at work in it.
    """
    work = work_folder(out)
    with contextlib.suppress(FileNotFoundError):
        found = json.loads((work / "request.json").read_text())
        _check_same(found, request, f"another dataset was begun in {work}")
    for folder in ("dataset", "finished"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    with locked(work, f"--out: {out} is already being built"):
        with records.atomic_write(work / "request.json") as new:
            new.write_bytes(_to_json(request))
        # Left by a process that was killed while it wrote.
        for unfinished in work.glob("*/*.new-*"):
            unfinished.unlink(missing_ok=True)
        yield work


def complete(
    out: pathlib.Path,
    listing: Listing,
    shards: Sequence[Shard],
    results: Sequence[ShardResult],
    *,
    request: Mapping[str, Any],
    report: Mapping[str, Any],
) -> None:
    """Turns the shards of a dataset into `out`, an absent or empty folder."""
    sizes: dict[str, list[records.ShardSize]] = {}
    videos: dict[str, list[records.ListedRecord]] = {}
    for shard, result in zip(shards, results, strict=True):
        sizes.setdefault(shard.split, []).append(result.size)
        videos.setdefault(shard.split, []).extend(result.videos)
    # tfds does not allow a split without records.
    sizes = {split: of for split, of in sizes.items() if any(s.num_records for s in of)}
    folder = work_folder(out) / "dataset"
    # Other files are of a listing that has changed since, or of an interrupted completion.
    for path in set(folder.iterdir()) - {s.path for s in shards if s.split in sizes}:
        path.unlink()
    records.write_description(
        folder,
        listing.name,
        records.record_features(listing.class_names, key_frames=listing.has_key_frames),
        sizes,
        {split: videos[split] for split in sizes},
        description=listing.description,
        metadata={"request": request},
    )
    (folder / REPORT).write_bytes(_to_json(report))
    folder.rename(out)
    clear(out)


def clear(out: pathlib.Path) -> None:
    """Removes the work folder of a complete dataset."""
    shutil.rmtree(work_folder(out), ignore_errors=True)


def _to_json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
