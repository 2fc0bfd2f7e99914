"""Shards of a dataset in the making: which entries they hold, and which work on them is done.

A shard holds the records of `records_per_shard` consecutive entries of a split, less those that
have none, so that which record goes where depends on the entries alone. Everything that is kept on
disk carries a digest of what its bytes depend on: the annotations of an entry, the name and size of
its file, and the settings. Where one of them changes, what was done is done again.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from data_prep import records
from data_prep.conversion import Conversion, Settings, convert
from data_prep.entries import Entry, Listing, Problem, listed_problems

CLIPS = "clips"
FINISHED = "finished"
DATASET = "dataset"


@dataclasses.dataclass(frozen=True)
class Clip:
    """One entry of a shard.

    Attributes:
        entry: What is to be recorded.
        num_bytes: Size of its file; 0 if there is none.
        kept: Where its conversion is kept until the shard is written.
    """

    entry: Entry
    num_bytes: int
    kept: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Shard:
    """Consecutive entries of a split.

    Attributes:
        split: Name of the split.
        index: Of the shard in the split.
        digest: Of all that its bytes depend on.
        clips: One per entry, also where there is no file.
        path: Of the shard, once it is written.
        facts: Of the file that says that it is written.
    """

    split: str
    index: int
    digest: str
    clips: tuple[Clip, ...]
    path: pathlib.Path
    facts: pathlib.Path


@dataclasses.dataclass(frozen=True)
class FinishedShard:
    """What is known of a finished shard; problems are in the order of the entries."""

    size: records.ShardSize
    problems: tuple[Problem, ...]


def plan_shards(
    directory: pathlib.Path,
    listing: Listing,
    folder: str,
    settings: Settings,
    records_per_shard: int,
) -> list[Shard]:
    """Deals the entries out to shards.

    Args:
        directory: Of the dataset in the making.
        listing: The dataset.
        folder: Of the videos.
        settings: Of the conversion.
        records_per_shard: Entries of one shard.

    Returns:
        The shards of all splits of which any video is there.
    """
    of_split: dict[str, list[Entry]] = {}
    for entry in listing.entries:
        of_split.setdefault(entry.split, []).append(entry)
    common = json.dumps([settings.describe(), listing.class_names], sort_keys=True)
    shards = []
    for split, entries in of_split.items():
        if all(entry.file is None for entry in entries):
            continue
        for index, first in enumerate(range(0, len(entries), records_per_shard)):
            part = entries[first : first + records_per_shard]
            whole = hashlib.sha256(common.encode())
            clips = []
            for entry in part:
                num_bytes = os.path.getsize(os.path.join(folder, entry.file)) if entry.file else 0
                own = json.dumps([dataclasses.asdict(entry), num_bytes], sort_keys=True)
                whole.update(own.encode())
                digest = hashlib.sha256((common + own).encode()).hexdigest()[:32]
                clips.append(Clip(entry, num_bytes, directory / CLIPS / digest))
            path = records.shard_path(directory / DATASET, listing.name, split, index)
            facts = directory / FINISHED / f"{split}-{index:05d}.json"
            shards.append(Shard(split, index, whole.hexdigest(), tuple(clips), path, facts))
    return shards


def read_finished(shard: Shard) -> FinishedShard | None:
    """What a finished shard holds.

    Args:
        shard: Any.

    Returns:
        Its size and problems; None if it is not finished, or was of other entries.
    """
    try:
        facts = json.loads(shard.facts.read_text())
        if facts["digest"] != shard.digest or facts["file_bytes"] != shard.path.stat().st_size:
            return None
    except (FileNotFoundError, ValueError, LookupError):
        return None
    size = records.ShardSize(facts["num_records"], facts["num_bytes"])
    return FinishedShard(size, tuple(Problem(**problem) for problem in facts["problems"]))


def read_conversion(clip: Clip) -> Conversion | None:
    """A conversion that was kept; None if there is none, or not a whole one."""
    try:
        with open(clip.kept, "rb") as file:
            facts, problem, num_bytes = json.loads(file.readline())
            video = file.read()
    except (FileNotFoundError, ValueError):
        return None
    if len(video) != num_bytes:
        return None
    return Conversion(video, facts, None if problem is None else Problem(**problem))


def keep_conversion(clip: Clip, conversion: Conversion) -> None:
    """Keeps a conversion until its shard is written."""
    problem = None if conversion.problem is None else conversion.problem.to_json()
    head = json.dumps([conversion.facts, problem, len(conversion.video)])
    write_whole(clip.kept, head.encode() + b"\n" + conversion.video)


def convert_and_keep(clip: Clip, folder: str, settings: Settings) -> None:
    """Converts a clip and keeps the conversion; a task for a worker.

    Args:
        clip: With a file.
        folder: Of the videos.
        settings: Of the conversion.
    """
    keep_conversion(clip, convert(folder, clip.entry, settings))


def write_shard(shard: Shard, class_names: Sequence[str], key_frames: bool) -> None:
    """Writes a shard from the conversions of all its clips; a task for a worker.

    Args:
        shard: Whose clips have all been converted.
        class_names: In the order of their labels.
        key_frames: Whether records are clips around key frames.
    """
    problems: list[Problem] = []

    def rows() -> Iterator[dict[str, Any]]:
        for clip in shard.clips:
            entry = clip.entry
            problems.extend(listed_problems(entry))
            if entry.file is None:
                continue
            conversion = read_conversion(clip)
            if conversion is None:
                raise FileNotFoundError(f"{clip.kept}: the conversion of {entry.file} is gone")
            if conversion.problem is not None:
                problems.append(conversion.problem)
            if conversion.video:
                yield _record(entry, conversion, len(class_names))

    features = records.record_features(class_names, key_frames=key_frames)
    with _new_file(shard.path) as new:
        size = records.write_shard(new, features, shard.split, rows())
    facts = {
        "digest": shard.digest,
        **dataclasses.asdict(size),
        "file_bytes": shard.path.stat().st_size,
        "problems": [problem.to_json() for problem in problems],
    }
    write_whole(shard.facts, json.dumps(facts).encode())
    remove_conversions(shard)


def remove_conversions(shard: Shard) -> None:
    """Removes the kept conversions of a shard that is finished."""
    for clip in shard.clips:
        clip.kept.unlink(missing_ok=True)


def _record(entry: Entry, conversion: Conversion, num_classes: int) -> dict[str, Any]:
    facts = dict(conversion.facts)
    if entry.key_frame is not None:
        facts |= entry.key_frame.fields(facts["key_frame"], num_classes)
    return {
        "video": conversion.video,
        "video_id": entry.video_id,
        "label": entry.label,
        "boxes": np.zeros((0, 4), np.float32),
        **facts,
    }


def write_whole(path: pathlib.Path, content: bytes) -> None:
    """Writes a file that is under its name when it is whole, and not before.

    Args:
        path: Of the file, which is replaced.
        content: All of it.
    """
    with _new_file(path) as new:
        new.write_bytes(content)


@contextlib.contextmanager
def _new_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A name to write to, which becomes `path` when the block ends well."""
    new = path.with_name(f"{path.name}.new-{os.getpid()}")
    try:
        yield new
        with open(new, "rb") as file:
            os.fsync(file.fileno())
        new.rename(path)
    finally:
        new.unlink(missing_ok=True)
