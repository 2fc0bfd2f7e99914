"""Which videos a run uses, to notice when it goes on, or its processes work, with others."""

import os
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from mgm_jax.data.records import RecordSource, VideoSource
from mgm_jax.errors import VideoError

Listing: TypeAlias = dict[str, Any]
"""As JSON types: `classes`, their names in order; `videos`, of each in order its name, class, size
and the checksum of its beginning, which few have."""

_CHECKSUMS = 256
_CHECKED_BYTES = 2**16
_NAMED = 3


def list_videos(source: VideoSource) -> Listing:
    """Lists the videos of a source, without decoding any.

    Names do not depend on where the folder of the data is. Checksums are of evenly spaced videos.
    Reading all of a prepared data set takes too long: of it, these are the only videos listed,
    after its shards and what it was made of (`metadata.json`, by data_prep).
    """
    names, num_videos = source.class_names, len(source)
    checked = frozenset(np.linspace(0, num_videos - 1, _CHECKSUMS).astype(int).tolist())
    chosen: Iterable[int] = range(num_videos)
    rows = []
    if isinstance(source, RecordSource):
        chosen = sorted(checked)
        rows = [[os.path.basename(file), "", *_look_at(file, False)] for file in source.files]
        rows.append(["metadata.json", "", *_look_at(f"{source.folder}/metadata.json", True)])
    for index in chosen:
        try:
            record = source[index]
        except VideoError:
            continue  # Loading will name it. The size of its file is listed already.
        label = names[record.label] if 0 <= record.label < len(names) else ""
        rows.append([record.video_id, label, *_look_at(record.video, index in checked)])
    return {"classes": list(names), "videos": rows}


def differences(then: Listing, now: Listing) -> list[str]:
    """What has changed between two listings, one line each; a few names stand for all.

    A listing without `videos` is compared by its classes alone.
    """
    lines = []
    if then["classes"] != now["classes"]:
        lines.append(f"classes: {_renamed(then['classes'], now['classes'])}")
    if then.get("videos") is None or then["videos"] == now["videos"]:
        return lines
    before, after = ({row[0]: row[1:] for row in listing["videos"]} for listing in (then, now))
    relabelled, replaced = [], []
    for name in before.keys() & after.keys():
        (label, size, checksum), (new_label, new_size, new_checksum) = before[name], after[name]
        if label != new_label:
            relabelled.append(f"{name} ({label or 'no class'} -> {new_label or 'no class'})")
        # Another number of videos has checksums of others.
        if size != new_size or (checksum != new_checksum and None not in (checksum, new_checksum)):
            replaced.append(name)
    if before.keys() != after.keys():
        lines.append(f"videos: {_renamed(list(before), list(after))}")
    if relabelled:
        lines.append(f"videos of another class: {_few(sorted(relabelled))}")
    if replaced:
        lines.append(f"files with other content: {_few(sorted(replaced))}")
    return lines or ["the order or the number of the videos"]


def _look_at(video: str | bytes, check: bool) -> tuple[int, int | None]:
    if isinstance(video, bytes):
        return len(video), zlib.crc32(video[:_CHECKED_BYTES]) if check else None
    try:
        if not check:
            return os.path.getsize(video), None
        with open(video, "rb") as file:
            checksum = zlib.crc32(file.read(_CHECKED_BYTES))
            return os.fstat(file.fileno()).st_size, checksum
    except OSError:
        return -1, None


def _renamed(then: Sequence[str], now: Sequence[str]) -> str:
    before, after = frozenset(then), frozenset(now)
    named = {
        "added": [name for name in now if name not in before],
        "removed": [name for name in then if name not in after],
    }
    parts = [f"{_few(names)} {what}" for what, names in named.items() if names]
    return "; ".join(parts) or f"another order: {_few(then)} -> {_few(now)}"


def _few(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(repr, names[:_NAMED])) + rest
