"""One shard of a dataset: a self-contained task that is either complete on disk or absent.

A shard holds the records of `records_per_shard` consecutive entries of a split, without those whose
video is missing or unreadable. Its digest covers everything that its bytes depend on: the
annotations of its entries, the size of each file, and what was asked for. If the digest of a
complete shard no longer matches, the shard is written again.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
from absl import logging

from data_prep import records
from data_prep.conversion import Conversion
from data_prep.entries import UNREADABLE, Entry, Listing, Problem, annotation_problems
from data_prep.processes import isolated_process, process_pool
from mgm_jax.errors import MgmError
from mgm_jax.io import writing

Convert = Callable[[str, Entry], Conversion]
"""Makes the video of an entry, whose file is below a folder; can be pickled."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """Consecutive entries of a split, with everything that is needed to write their records.

    Attributes:
        path: The records file.
        result_path: The JSON file that marks the shard as complete.
    """

    split: str
    entries: tuple[Entry, ...]
    digest: str
    path: pathlib.Path
    result_path: pathlib.Path
    videos: str
    convert: Convert
    class_names: tuple[str, ...]
    key_frames: bool


@dataclasses.dataclass(frozen=True)
class ShardResult:
    """Size of a complete shard, its problems in the order of its entries, and its records."""

    size: records.ShardSize
    problems: tuple[Problem, ...]
    videos: tuple[records.ListedRecord, ...]


def plan_shards(
    work: pathlib.Path,
    request: Mapping[str, Any],
    listing: Listing,
    videos: str,
    convert: Convert,
    records_per_shard: int,
) -> list[Shard]:
    """Divides the entries of a dataset, which is built in the folder `work`, into shards.

    `request` says what `convert` does, and `videos` is the folder of the files.
    """
    by_split: dict[str, list[Entry]] = {}
    for entry in listing.entries:
        by_split.setdefault(entry.split, []).append(entry)
    common = json.dumps([request, listing.class_names], sort_keys=True)
    shards = []
    for split, entries in by_split.items():
        for index, first in enumerate(range(0, len(entries), records_per_shard)):
            part = tuple(entries[first : first + records_per_shard])
            digest = hashlib.sha256(common.encode())
            for entry in part:
                path = os.path.join(videos, entry.file or "")
                size = os.path.getsize(path) if os.path.isfile(path) else 0
                described = json.dumps([dataclasses.asdict(entry), size], sort_keys=True)
                digest.update(described.encode())
            shards.append(
                Shard(
                    split=split,
                    entries=part,
                    digest=digest.hexdigest(),
                    path=records.shard_path(work / "dataset", listing.name, split, index),
                    result_path=work / "finished" / f"{split}-{index:05d}.json",
                    videos=videos,
                    convert=convert,
                    class_names=listing.class_names,
                    key_frames=listing.has_key_frames,
                )
            )
    return shards


def read_result(shard: Shard) -> ShardResult | None:
    """What a complete shard holds; None if it is absent, or was written from other inputs."""
    try:
        result = json.loads(shard.result_path.read_text())
        if (result["digest"], result["file_bytes"]) != (shard.digest, shard.path.stat().st_size):
            return None
        size = records.ShardSize(result["num_records"], result["num_bytes"])
        problems = tuple(Problem(**problem) for problem in result["problems"])
        return ShardResult(size, problems, tuple(map(tuple, result["videos"])))
    except (FileNotFoundError, ValueError, LookupError):
        return None


def absent_shards(shards: Sequence[Shard]) -> list[Shard]:
    """Those that are left to write."""
    absent = [shard for shard in shards if read_result(shard) is None]
    logging.info("%d shards, %d to write", len(shards), len(absent))
    return absent


def write_shard(shard: Shard, isolate: bool = False) -> None:
    """Converts the videos of a shard and writes it.

    With `isolate` they are converted in a child process, so that a video that crashes the decoder
    becomes unreadable.

    Raises:
        WriteError: The disk is full or faulty.
    """
    problems: list[Problem] = []
    videos: list[records.ListedRecord] = []
    features = records.record_features(shard.class_names, key_frames=shard.key_frames)
    with isolated_process() as call:
        convert_one = functools.partial(call, shard.convert) if isolate else shard.convert
        rows = _make_records(shard, convert_one, problems, videos)
        size = records.write_records_file(shard.path, features, shard.split, rows)
    result = {
        "digest": shard.digest,
        **dataclasses.asdict(size),
        "file_bytes": shard.path.stat().st_size,
        "problems": [dataclasses.asdict(problem) for problem in problems],
        "videos": videos,
    }
    with writing(shard.result_path), records.atomic_write(shard.result_path) as new:
        new.write_text(json.dumps(result))


def _make_records(
    shard: Shard,
    convert_one: Convert,
    problems: list[Problem],
    videos: list[records.ListedRecord],
) -> Iterator[dict[str, Any]]:
    for entry in shard.entries:
        problems += annotation_problems(entry)
        if entry.file is None:
            continue
        try:
            conversion = convert_one(shard.videos, entry)
        except BrokenProcessPool:
            reason = "its conversion was killed: it crashes the decoder, or the memory is too small"
            conversion = Conversion(b"", {}, Problem.of(UNREADABLE, entry, reason))
        if conversion.problem is not None:
            problems.append(conversion.problem)
        if not conversion.video:
            continue
        group = (entry.group,) if entry.group else ()
        videos.append((entry.video_id, entry.label, conversion.fingerprint, *group))
        fields = dict(conversion.facts)
        if entry.key_frame is not None:
            fields |= entry.key_frame.fields(fields["key_frame"], len(shard.class_names))
        yield {
            "video": conversion.video,
            "video_id": entry.video_id,
            "label": entry.label,
            "boxes": np.zeros((0, 4), np.float32),
            **fields,
        }


def write_shards(shards: Sequence[Shard], workers: int) -> None:
    """Writes all shards that are absent, one per worker process at a time, or in this process.

    Raises:
        MgmError: A worker process was killed twice.
    """
    absent = absent_shards(shards)
    if len(shards) < workers:
        logging.info("a smaller --records_per_shard would give work to all %d workers", workers)
    if workers == 0:
        for shard in absent:
            write_shard(shard)
        return
    try:
        _write_in_pool(absent, workers, isolate=False)
    except BrokenProcessPool:
        logging.warning("a worker process was killed; isolating each conversion to find the cause")
        try:
            _write_in_pool(absent_shards(absent), workers, isolate=True)
        except BrokenProcessPool as error:
            raise MgmError(
                "a worker process was killed again; the memory may be too small: run the same "
                "command with fewer --workers (complete shards are kept)"
            ) from error


def _write_in_pool(shards: Sequence[Shard], workers: int, isolate: bool) -> None:
    start = time.monotonic()
    with process_pool(workers) as pool:
        tasks = [pool.submit(write_shard, shard, isolate) for shard in shards]
        for done, task in enumerate(as_completed(tasks), 1):
            task.result()
            left = (time.monotonic() - start) / done * (len(shards) - done)
            logging.info("%d of %d shards, %.0f min left", done, len(shards), left / 60)
