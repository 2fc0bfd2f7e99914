"""The output folder of a dataset: locked while it is built, and resumed after an interruption.

Until the dataset OUT is complete, it is built in a folder beside it:

    .OUT.incomplete/
        request.json       what was asked for; a different request is refused
        lock               held by the running process; names it
        dataset/           shards; becomes OUT
        finished/          one JSON file per complete shard

Every file, and OUT itself, appears by a rename when it is complete.
"""

import collections
import contextlib
import dataclasses
import hashlib
import itertools
import json
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from absl import logging

from data_prep import records
from data_prep.entries import UNLABELLED, UNREADABLE, Listing
from data_prep.shards import Convert, Shard, ShardResult, plan_shards, read_result
from mgm_jax.data import manifest
from mgm_jax.data.identity import fingerprint
from mgm_jax.data.records import read_listed_videos
from mgm_jax.errors import ConfigError, differences
from mgm_jax.io import locked

REPORT = "report.json"
_PROBLEMS_LOGGED = 20
_FINGERPRINTS = 256


def _work_folder(out: pathlib.Path) -> pathlib.Path:
    """The folder in which `out` is built."""
    return out.parent / f".{out.name}.incomplete"


def is_complete(out: pathlib.Path, request: Mapping[str, Any]) -> bool:
    """Whether `out` holds the requested dataset, and nothing is left to do.

    Raises:
        ConfigError: `out` holds something else.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out: {out} is a file; name a folder for the dataset")
    if not out.is_dir() or not any(out.iterdir()):
        if out.is_symlink() or out.is_mount():
            raise ConfigError(
                f"--out: {out} is a link or a mounted disk, which a complete dataset cannot "
                f"replace; name a folder below it, such as {out / 'dataset'}"
            )
        return False
    try:
        found = json.loads((out / "metadata.json").read_text())["request"]
    except (OSError, ValueError, LookupError) as error:
        raise ConfigError(
            f"--out: {out} holds something else; name another folder, or delete it"
        ) from error
    _check_same(found, request, f"{out} holds another dataset")
    shutil.rmtree(_work_folder(out), ignore_errors=True)  # Of an interrupted completion.
    return True


def _check_same(found: Mapping[str, Any], request: Mapping[str, Any], message: str) -> None:
    if found != request:
        _refuse(message, differences(found, request))


def _refuse(message: str, found: Sequence[str]) -> NoReturn:
    text = "; ".join(found)
    raise ConfigError(f"--out: {message} ({text}); name another folder, or delete it first")


def _check_videos(out: pathlib.Path, listing: Listing, videos: str) -> int:
    """Compares the videos that are listed and exist with those that `out` was made of.

    Of some files the content is compared too. Videos that are gone do not matter.

    Returns:
        The number of those that were unreadable, which are not compared.

    Raises:
        ConfigError: They are others, or have other classes or groups.
    """
    report, metadata = (json.loads((out / f).read_text()) for f in (REPORT, "metadata.json"))
    left_out = {(p["split"], p["video_id"]) for p in report["problems"] if p["kind"] == UNREADABLE}
    stored: dict[tuple[str, str], list[str]] = {}
    groups: dict[tuple[str, str], str] = {}
    for split, rows in read_listed_videos(out).items():
        for video_id, label, content, *group in rows:
            name, class_name = f"{split}/{video_id}", _class_name(metadata["class_names"], label)
            stored[split, video_id] = [name, class_name, content]
            groups[split, video_id] = "".join(group)
    listed = {
        key: entry
        for entry in listing.entries
        if entry.file is not None and (key := (entry.split, entry.video_id)) not in left_out
    }
    then = [row for key, row in sorted(stored.items()) if key in listed]
    now = []
    step = max(len(listed) // _FINGERPRINTS, 1)
    for number, (key, entry) in enumerate(sorted(listed.items())):
        path = pathlib.Path(videos, entry.file or "")
        content = stored[key][2] if key in stored else ""
        if path.is_file():
            size = str(path.stat().st_size)
            if number % step == 0:
                content = fingerprint(path)
            elif content.partition("-")[0] != size:
                content = size
        now.append(["/".join(key), _class_name(listing.class_names, entry.label), content])
    message = f"{out} was made of other videos"
    if _renumbered(metadata["class_names"], listing):
        pairs = itertools.zip_longest(metadata["class_names"], listing.class_names)
        number, (old, new) = next((n, p) for n, p in enumerate(pairs) if p[0] != p[1])
        _refuse(message, [f"class {number} was {old!r} and is now {new!r}"])
    if then != now:
        found = {"classes": [], "videos": then}, {"classes": [], "videos": now}
        _refuse(message, manifest.differences(*found))
    if regrouped := [key for key, entry in sorted(listed.items()) if groups[key] != entry.group]:
        name = "/".join(regrouped[0])
        _refuse(message, [f"other groups of {len(regrouped)} videos, the first of them {name!r}"])
    if metadata.get("key_frames", digest := _digest_of_key_frames(listing)) != digest:
        _refuse(message, ["the boxes or actions of its key frames"])
    return len(left_out)


def _renumbered(then: Sequence[str], listing: Listing) -> bool:
    """Whether classes have other numbers than before; some may be gone with their videos."""
    now = listing.class_names
    if listing.has_key_frames or set(then) <= set(now):
        return tuple(then) != now
    shared = set(then) & set(now)
    return [name for name in then if name in shared] != [name for name in now if name in shared]


def _digest_of_key_frames(listing: Listing) -> str:
    frames = [dataclasses.astuple(e.key_frame) for e in listing.entries if e.key_frame]
    return hashlib.sha256(json.dumps(frames).encode()).hexdigest()


def _class_name(names: Sequence[str], label: int) -> str:
    return names[label] if label != UNLABELLED else ""


@contextlib.contextmanager
def building(out: pathlib.Path, request: Mapping[str, Any]) -> Iterator[pathlib.Path]:
    """Creates and locks the work folder, and yields it.

    Raises:
        ConfigError: It belongs to a different request, or another process is at work in it.
    """
    work = _work_folder(out)
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


def build(
    out: pathlib.Path,
    request: Mapping[str, Any],
    listing: Listing,
    videos: str,
    convert: Convert,
    *,
    records_per_shard: int,
    write_shards: Callable[[Sequence[Shard]], None],
) -> dict[str, Any] | None:
    """Makes a dataset in `out`, unless it exists; see `shards.plan_shards` and `write_shards`.

    Returns:
        The content of `report.json`: for each split the number of listed videos, records and
        problems of each kind, and all problems. None if the dataset existed.

    Raises:
        ConfigError: No video can be read, `out` holds something else or was made of other videos,
            or another process or request builds it.
    """
    if is_complete(out, request):
        unreadable = _check_videos(out, listing, videos)
        more = f" (unreadable: {unreadable} videos; delete it to try them again)"
        logging.info(
            "%s already holds this dataset; nothing to do%s", out, more if unreadable else ""
        )
        return None
    with building(out, request) as work:
        shards = plan_shards(work, request, listing, videos, convert, records_per_shard)
        write_shards(shards)
        results = [read_result(shard) for shard in shards]
        report = _make_report(listing.name, shards, results)
        if not any(result.size.num_records for result in results):
            reason = next(p["reason"] for p in report["problems"] if p["kind"] == UNREADABLE)
            raise ConfigError(f"--videos: not one video could be read; the first: {reason}")
        _complete(out, request, listing, shards, results, report)
    logging.info("%s is complete; its problems are in %s", out, REPORT)
    _log_report(report)
    return report


def _make_report(
    name: str, shards: Sequence[Shard], results: Sequence[ShardResult]
) -> dict[str, Any]:
    splits: dict[str, Any] = {}
    for shard, result in zip(shards, results, strict=True):
        empty = {"listed": 0, "records": 0, "problems": collections.Counter()}
        split = splits.setdefault(shard.split, empty)
        split["listed"] += len(shard.entries)
        split["records"] += result.size.num_records
        split["problems"].update(problem.kind for problem in result.problems)
    problems = [dataclasses.asdict(problem) for result in results for problem in result.problems]
    return {"dataset": name, "splits": splits, "problems": problems}


def _log_report(report: Mapping[str, Any]) -> None:
    for split, facts in report["splits"].items():
        counts = "".join(f", {count} {kind}" for kind, count in facts["problems"].items())
        logging.info(
            "%s: %d listed videos, %d records%s", split, facts["listed"], facts["records"], counts
        )
    for problem in report["problems"][:_PROBLEMS_LOGGED]:
        logging.info("%s: %s: %s", problem["kind"], problem["video_id"], problem["reason"])


def _complete(
    out: pathlib.Path,
    request: Mapping[str, Any],
    listing: Listing,
    shards: Sequence[Shard],
    results: Sequence[ShardResult],
    report: Mapping[str, Any],
) -> None:
    """Turns the shards of a dataset into `out`."""
    sizes: dict[str, list[records.ShardSize]] = {}
    videos: dict[str, list[records.ListedRecord]] = {}
    for shard, result in zip(shards, results, strict=True):
        sizes.setdefault(shard.split, []).append(result.size)
        videos.setdefault(shard.split, []).extend(result.videos)
    # tfds does not allow a split without records.
    sizes = {split: of for split, of in sizes.items() if any(s.num_records for s in of)}
    most = max((len(e.key_frame.boxes) for e in listing.entries if e.key_frame), default=0)
    folder = _work_folder(out) / "dataset"
    metadata: dict[str, Any] = {"request": request}
    if listing.has_key_frames:
        metadata["key_frames"] = _digest_of_key_frames(listing)
    if most:
        metadata["most_boxes"] = most
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
        metadata=metadata,
    )
    (folder / REPORT).write_bytes(_to_json(report))
    folder.rename(out)
    shutil.rmtree(_work_folder(out), ignore_errors=True)


def _to_json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
