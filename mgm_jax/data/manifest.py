"""Which videos a run uses, to notice when it goes on, or its processes work, with others."""

import collections
import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from mgm_jax.data.identity import VideoFacts
from mgm_jax.data.records import VideoSource

Manifest: TypeAlias = dict[str, Any]
"""As JSON types: `classes`, their names in order; `videos`, name, class and content of each."""

_FINGERPRINTS = 256
_NAMED = 3


def make_manifest(source: VideoSource) -> Manifest:
    """Lists the videos of a source, without decoding any.

    Names do not depend on where the folder of the data is. The content is the fingerprint of a
    record, and of evenly spaced files; of the others it is the size.
    """
    names, facts = source.class_names, source.facts()
    opened = frozenset(np.linspace(0, len(facts) - 1, _FINGERPRINTS).astype(int).tolist())
    rows = []
    for index, video in enumerate(facts):
        name = names[video.label] if 0 <= video.label < len(names) else ""
        rows.append([video.name, name, video.content(index in opened)])
    return {"classes": list(names), "videos": rows}


def digest(source: VideoSource) -> str:
    """Stands for the names and classes of a source's videos, in their order."""
    rows = [(video.name, video.label) for video in source.facts()]
    return hashlib.sha256(json.dumps([source.class_names, rows]).encode()).hexdigest()


def shared_with(manifest: Manifest, videos: Sequence[VideoFacts]) -> list[tuple[str, str]]:
    """Pairs of names of a video and of the same one in a manifest, wherever the files are now.

    The same are those of equal fingerprints and, where the manifest has none, files of equal size
    of which the shorter path, without suffix, is the end of the longer. A file is read only if the
    manifest has a fingerprint of its size.
    """
    by_fingerprint, by_file = {}, collections.defaultdict(list)
    for name, _, content in manifest["videos"]:
        if "-" in content:
            by_fingerprint[content] = name
        else:
            parts = _parts(name)
            by_file[parts[-1], content].append((parts, name))
    sizes = {content.partition("-")[0] for content in by_fingerprint}
    found = []
    for video in videos:
        parts, size = _parts(video.name), video.content(read=False).partition("-")[0]
        same = by_fingerprint.get(video.content()) if size in sizes else None
        for other, name in by_file.get((parts[-1], size), ()) if same is None else ():
            if parts[-len(other) :] == other[-len(parts) :]:
                same = name
        if same is not None:
            found.append((video.name, same))
    return found


def _parts(name: str) -> tuple[str, ...]:
    return pathlib.PurePath(name).with_suffix("").parts


def differences(then: Manifest, now: Manifest) -> list[str]:
    """What has changed between two manifests, one line each; a few names stand for all."""
    lines = []
    if then["classes"] != now["classes"]:
        lines.append(f"classes: {_renamed(then['classes'], now['classes'])}")
    if then["videos"] == now["videos"]:
        return lines
    before, after = ({row[0]: row[1:] for row in manifest["videos"]} for manifest in (then, now))
    relabelled, replaced = [], []
    for name in sorted(before.keys() & after.keys()):
        (label, content), (new_label, new_content) = before[name], after[name]
        if label != new_label:
            relabelled.append(f"{name} ({label or 'no class'} -> {new_label or 'no class'})")
        size, new_size = content.partition("-")[0], new_content.partition("-")[0]
        # Fingerprints are of other files if there are more or fewer.
        if content != new_content and (size != new_size or ("-" in content and "-" in new_content)):
            replaced.append(name)
    if before.keys() != after.keys():
        lines.append(f"videos: {_renamed(list(before), list(after))}")
    if relabelled:
        lines.append(f"videos of another class: {_few(relabelled)}")
    if replaced:
        lines.append(f"videos with other content: {_few(replaced)}")
    return lines or ["the order or the number of the videos"]


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
