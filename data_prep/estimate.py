"""What preparing a dataset would take: a sample is converted, nothing is written."""

import collections
import os
import pathlib
import shutil
import time
from collections.abc import Sequence

from data_prep.conversion import Settings, convert
from data_prep.entries import Listing, listed_problems
from data_prep.progress import duration, size
from data_prep.shards import Clip, Shard, read_finished

_SAMPLE = 8


def estimate(
    listing: Listing,
    planned: Sequence[Shard],
    folder: str,
    settings: Settings,
    out: pathlib.Path,
    workers: int,
) -> str:
    """Says what would be done, the disk needed and the time expected.

    Args:
        listing: The dataset.
        planned: Its shards.
        folder: Of the videos.
        settings: Of the conversion.
        out: Directory of the dataset.
        workers: Processes that would convert.

    Returns:
        The text, in lines.
    """
    lines = [f"{listing.name}: {len(listing.class_names)} classes, to {out}"]
    listed = collections.Counter(entry.split for entry in listing.entries)
    found = collections.Counter(entry.split for entry in listing.entries if entry.file)
    lines += [
        f"  {split}: {found[split]} of {count} listed videos are there"
        for split, count in listed.items()
    ]
    kinds = collections.Counter(
        problem.kind for entry in listing.entries for problem in listed_problems(entry)
    )
    lines += [f"  {kind}: {count}" for kind, count in kinds.items()]
    unfinished = [shard for shard in planned if read_finished(shard) is None]
    if len(unfinished) < len(planned):
        lines.append(
            f"  a run that was ended has finished {len(planned) - len(unfinished)} of "
            f"{len(planned)} shards"
        )
    clips = [clip for shard in unfinished for clip in shard.clips if clip.entry.file]
    lines += _by_sample(clips, folder, settings, out, workers)
    return "\n".join(lines)


def _by_sample(
    clips: list[Clip], folder: str, settings: Settings, out: pathlib.Path, workers: int
) -> list[str]:
    count = min(_SAMPLE, len(clips))
    sample = [clips[(2 * i + 1) * len(clips) // (2 * count)] for i in range(count)]
    start = time.monotonic()
    conversions = [convert(folder, clip.entry, settings) for clip in sample]
    seconds = time.monotonic() - start
    lines = [
        f"  of a sample: {conversion.problem.file}: {conversion.problem.reason}"
        for conversion in conversions
        if conversion.problem
    ]
    if not clips:
        return [*lines, "  nothing is left to convert"]
    # A clip around a key frame is as long in a long film as in a short one.
    of_films = clips[0].entry.key_frame is not None
    weight = [1 if of_films else clip.num_bytes for clip in sample]
    times = sum(1 if of_films else clip.num_bytes for clip in clips) / max(1, sum(weight))
    num_bytes = times * sum(len(conversion.video) for conversion in conversions)
    source = sum({clip.entry.file: clip.num_bytes for clip in clips}.values())
    existing = next(parent for parent in (out, *out.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    lines += [
        f"  to convert: {len(clips)} videos, {size(source)} of files",
        f"  disk: about {size(num_bytes)} with profile {settings.profile}; {size(free)} are free"
        + (": NOT ENOUGH" if num_bytes > free else ""),
        f"  time: about {duration(times * seconds / max(1, workers))} with {workers} workers on "
        f"this machine ({os.cpu_count()} processors), by a sample of {count}",
    ]
    return lines
