"""Checks a dataset of records.

    python -m data_prep.verify DIR

Reads every record and decodes a sample. The exit code is 1 if anything is wrong.
"""

import collections
import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import app, flags, logging

from data_prep.entries import UNLABELLED
from mgm_jax.data.decoding import DecodedClip, Video
from mgm_jax.data.records import VIDEOS_FILE, check_label_file, read_listed_videos
from mgm_jax.errors import ConfigError, VideoError, reading_video
from mgm_jax.program import run_program

_FAULTS_PRINTED = 20


@dataclasses.dataclass(frozen=True)
class CheckedRecord:
    """What decoding a record showed.

    Attributes:
        faults: Sentences; none if the record is correct.
        clip: All frames and their motion; None if they cannot be decoded.
    """

    video_id: str
    faults: tuple[str, ...]
    clip: DecodedClip | None


def verify(directory: str | os.PathLike, sample: int) -> tuple[str, list[str]]:
    """Reads all records of a dataset; decodes `sample` evenly spaced records of each split.

    Returns:
        A description, and what is wrong (empty if nothing is).

    Raises:
        ConfigError: There is no dataset.
    """
    if not os.path.exists(os.path.join(directory, "dataset_info.json")):
        raise ConfigError(f"{directory} is not a prepared dataset: it has no dataset_info.json")
    lines: list[str] = []
    faults: list[str] = []
    split_of: dict[str, str] = {}
    with _noting(faults, f"{directory} cannot be read"):
        builder = tfds.builder_from_directory(directory)
        lines.append(f"{builder.info.name}: {builder.info.description}")
        names = builder.info.features["label"].names
        check_label_file(directory, names)
        listed = read_listed_videos(directory)
        for split in builder.info.splits:
            logging.info("reading all records of %s", split)
            with _noting(faults, f"{split} cannot be read"):
                source = builder.as_data_source(split)
                read = _read_split(source, split, names, split_of, listed[split], faults, lines)
                places = np.linspace(0, len(read) - 1, min(sample, len(read))).astype(int)
                of_split = [check_record(source[read[place]]) for place in np.unique(places)]
                valid = [c.clip.motion_valid.mean() for c in of_split if c.clip is not None]
                share = f"{np.mean(valid):.1%}" if valid else "none"
                lines.append(
                    f"  of {len(valid)} decoded: {share} of the frames have motion vectors"
                )
                faults += [
                    f"{split}: {c.video_id}: {fault}" for c in of_split for fault in c.faults
                ]
    return "\n".join(lines), faults


@contextlib.contextmanager
def _noting(faults: list[str], what: str) -> Iterator[None]:
    """Whatever goes wrong inside is a fault: damage makes libraries fail in any way."""
    try:
        yield
    except Exception as error:
        faults.append(f"{what}: {str(error) or type(error).__name__}")


def _read_split(
    source: Any,
    split: str,
    names: Sequence[str],
    split_of: dict[str, str],
    listed: Sequence[Sequence[Any]],
    faults: list[str],
    lines: list[str],
) -> list[int]:
    """Reads every record of a split; adds to `split_of` (by video id), `faults` and `lines`.

    `listed` is what `videos.json` says of them. Returns the numbers of those that can be read.
    """
    if len(listed) != len(source):
        faults.append(f"{split}: {len(source)} records, {VIDEOS_FILE} lists {len(listed)}")
        listed = ()
    labels: collections.Counter[int] = collections.Counter()
    profiles: collections.Counter[str] = collections.Counter()
    num_frames, num_bytes = [], 0
    readable: list[int] = []
    for number in range(len(source)):
        with _noting(faults, f"{split}: record {number} cannot be read"):
            record = source[number]
            name, profile = (record[field].decode() for field in ("video_id", "profile"))
            size = len(record["video"])
            readable.append(number)
        if readable[-1:] != [number]:
            continue
        label = record["label"]
        if listed and [name, label] != listed[number][:2]:
            stated = "{} with label {}".format(*listed[number])
            faults.append(f"{split}: {name} has label {label}, {VIDEOS_FILE} says {stated}")
        if name in split_of:
            faults.append(f"{split}: {name} is also in {split_of[name]}")
        split_of[name] = split
        if not UNLABELLED <= label < len(names):
            faults.append(f"{split}: {name} has label {label} of {len(names)} classes")
        labels[label] += 1
        profiles[profile or "copied"] += 1
        num_frames.append(record["num_frames"])
        num_bytes += size
    frames = np.array(num_frames or [0])
    kinds = ", ".join(f"{count} {profile}" for profile, count in profiles.items())
    counts = [labels[label] for label in range(len(names)) if labels[label]]
    lines += [
        f"{split}: {len(num_frames)} records, {num_bytes / 1e6:.1f} MB; {kinds}; "
        f"{frames.min()} to {frames.max()} frames, median {np.median(frames):.0f}",
        f"  {len(counts)} of {len(names)} classes, {min(counts, default=0)} to "
        f"{max(counts, default=0)} records each",
    ]
    return readable


def check_record(record: Mapping[str, Any]) -> CheckedRecord:
    """Decodes and checks a record, as tfds reads it."""
    video_id = record["video_id"].decode()
    try:
        with reading_video(video_id), Video(record["video"], video_id) as video:
            clip = video.read(range(video.num_frames))
            size = video.height, video.width
    except VideoError as error:
        return CheckedRecord(video_id, (str(error),), None)
    found = {"num_frames": len(clip.luma), "height": size[0], "width": size[1]}
    faults = [
        f"{name} is {value}, the record says {record[name]}"
        for name, value in found.items()
        if value != record[name]
    ]
    return CheckedRecord(video_id, tuple(faults), clip)


def main(argv: Sequence[str]) -> None:
    """Checks the dataset that the command line names."""
    if len(argv) != 2:
        raise app.UsageError("name one directory: python -m data_prep.verify DIR")
    text, faults = verify(argv[1], flags.FLAGS.sample)
    print(text)
    for fault in faults[:_FAULTS_PRINTED]:
        print(f"WRONG: {fault}")
    print(f"{len(faults)} things are wrong" if faults else "all is well")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    # Defined here because other commands define flags with the same names.
    flags.DEFINE_integer("sample", 32, "Records of each split to decode.", 1)
    run_program(main, positional=True)
