"""Checks a dataset of records, and draws some of it.

    python -m data_prep.verify DIR

Reads every record, decodes a sample, and writes a sheet of pictures, `DIR.verify.png`.
The exit code is 1 if anything is wrong.
"""

import collections
import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import app, flags, logging
from jaxtyping import UInt8
from PIL import Image, ImageOps

from data_prep.checks import CheckedRecord, check_record
from data_prep.entries import UNLABELLED
from mgm_jax.data.records import VIDEOS_FILE, check_label_file, read_listed_videos
from mgm_jax.errors import ConfigError, MgmError
from mgm_jax.pictures import image_files, motion_colours
from mgm_jax.pictures.figures import Row, sheet, shorten

_TILE = (160, 120)  # Width and height, pixels.
_COLUMNS = 8
_DRAWN = 6
_FAULTS_PRINTED = 20


def verify(directory: str | os.PathLike, sample: int) -> tuple[str, list[str], list[CheckedRecord]]:
    """Reads all records of a dataset; decodes `sample` evenly spaced records of each split.

    Returns:
        A description, what is wrong (empty if nothing is), and the decoded records.

    Raises:
        ConfigError: There is no dataset.
    """
    if not os.path.exists(os.path.join(directory, "dataset_info.json")):
        raise ConfigError(f"{directory} is not a prepared dataset: it has no dataset_info.json")
    lines: list[str] = []
    faults: list[str] = []
    checked: list[CheckedRecord] = []
    split_of: dict[str, str] = {}
    with _noting(faults, f"{directory} cannot be read"):
        builder = tfds.builder_from_directory(directory)
        lines.append(f"{builder.info.name}: {builder.info.description}")
        names = builder.info.features["label"].names
        check_label_file(directory, names)
        listed = read_listed_videos(directory) or {}
        for split in builder.info.splits:
            logging.info("reading all records of %s", split)
            with _noting(faults, f"{split} cannot be read"):
                source = builder.as_data_source(split)
                read = _read_split(source, split, names, split_of, listed.get(split), faults, lines)
                places = np.linspace(0, len(read) - 1, min(sample, len(read))).astype(int)
                of_split = [check_record(source[read[place]]) for place in np.unique(places)]
                lines += _describe_sample(of_split)
                faults += [
                    f"{split}: {c.video_id}: {fault}" for c in of_split for fault in c.faults
                ]
                checked += of_split
    return "\n".join(lines), faults, checked


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
    listed: Sequence[Sequence[Any]] | None,
    faults: list[str],
    lines: list[str],
) -> list[int]:
    """Reads every record of a split; adds to `split_of` (by video id), `faults` and `lines`.

    `listed` is what `videos.json` says of them. Returns the numbers of those that can be read.
    """
    if listed is not None and len(listed) != len(source):
        faults.append(f"{split}: {len(source)} records, {VIDEOS_FILE} lists {len(listed)}")
        listed = None
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
        if listed is not None and [name, label] != listed[number][:2]:
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
    counts = ", ".join(f"{count} {profile}" for profile, count in profiles.items())
    lines += [
        f"{split}: {len(num_frames)} records, {num_bytes / 1e6:.1f} MB; {counts}; "
        f"{frames.min()} to {frames.max()} frames, median {np.median(frames):.0f}",
        *_histogram(labels, names),
    ]
    return readable


def _histogram(labels: collections.Counter[int], names: Sequence[str]) -> list[str]:
    lines = []
    most = max(labels.values(), default=1)
    for label in sorted(labels):
        name = names[label] if 0 <= label < len(names) else "(no class)"
        bar = "#" * round(30 * labels[label] / most)
        lines.append(f"  {label:4d} {name[:40]:40s} {labels[label]:7d} {bar}")
    absent = [name for label, name in enumerate(names) if not labels[label]]
    if absent and len(absent) < len(names):
        lines.append(f"  no record of {len(absent)} classes: {', '.join(absent[:10])} ...")
    return lines


def _describe_sample(sample: Sequence[CheckedRecord]) -> list[str]:
    valid = [checked.clip.motion_valid.mean() for checked in sample if checked.clip is not None]
    if not valid:
        return []
    return [f"  of {len(sample)} decoded: {np.mean(valid):.1%} of the frames have motion vectors"]


def draw(sample: Sequence[CheckedRecord], title: str) -> UInt8[np.ndarray, "height width 3"]:
    """A sheet of frames, each with its motion below; skips records that cannot be decoded."""
    rows = []
    for checked in sample:
        clip = checked.clip
        if clip is None:
            continue
        numbers = np.linspace(0, len(clip.luma) - 1, _COLUMNS).round().astype(int)
        scale = motion_colours.motion_scale(clip.motion, clip.motion_valid)
        height, width = clip.luma.shape[1:]
        maps = motion_colours.motion_pictures(
            clip.motion[numbers], clip.motion_valid[numbers], (height, width), scale
        )
        name = shorten(os.path.basename(checked.video_id), 20)
        rows += [
            Row(f"{name}\n{len(clip.luma)} frames", _fit(clip.to_rgb(numbers))),
            Row(
                f"motion\n{clip.motion_source}\nrim of wheel: {scale:g} px",
                _fit(maps),
                motion_colours.colour_wheel(),
            ),
        ]
    columns = [f"{100 * i // (_COLUMNS - 1)} %" for i in range(_COLUMNS)]
    return sheet(rows, columns, f"{title}\ncolumns: from the first frame to the last")


def _fit(pictures: UInt8[np.ndarray, "n h w 3"]) -> UInt8[np.ndarray, "n height width 3"]:
    """Pictures scaled to fit into tiles, on white."""
    images = (ImageOps.pad(Image.fromarray(picture), _TILE, color="white") for picture in pictures)
    return np.stack([np.asarray(image) for image in images])


def main(argv: Sequence[str]) -> None:
    """Checks the dataset that the command line names."""
    if len(argv) != 2:
        raise app.UsageError("name one directory: python -m data_prep.verify DIR")
    directory = argv[1].rstrip("/")
    try:
        text, faults, sample = verify(directory, flags.FLAGS.sample)
        print(text)
        drawable = [checked for checked in sample if checked.clip is not None]
        if drawable:
            path = pathlib.Path(f"{directory}.verify.png")
            numbers = np.linspace(0, len(drawable) - 1, min(_DRAWN, len(drawable)))
            chosen = [drawable[int(number)] for number in numbers]
            image_files.save_png(path, draw(chosen, os.path.basename(directory)))
            print(f"pictures: {path}")
    except MgmError as error:
        sys.exit(f"error: {error}")
    for fault in faults[:_FAULTS_PRINTED]:
        print(f"WRONG: {fault}")
    print(f"{len(faults)} things are wrong" if faults else "all is well")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    # Defined here because other commands define flags with the same names.
    flags.DEFINE_integer("sample", 32, "Records of each split to decode.", 1)
    logging.set_verbosity(logging.INFO)
    app.run(main)
