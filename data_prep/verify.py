"""Checks a dataset of records, and draws some of it.

    python -m data_prep.verify DIR

Reads every record, decodes a sample, and writes a sheet of pictures, `DIR.verify.png` by default.
The exit code is 1 if anything is wrong.
"""

import collections
import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import app, flags, logging
from jaxtyping import UInt8
from PIL import Image

from data_prep.checks import Checked, check_record
from data_prep.progress import Progress, size
from data_prep.records import UNLABELLED
from data_prep.staging import REPORT
from mgm_jax.errors import ConfigError, MgmError
from mgm_jax.pictures import image_files, motion_colours
from mgm_jax.pictures.figures import Row, sheet, shorten

_TILE = (120, 160)
_COLUMNS = 8
_FAULTS_TOLD = 20


@dataclasses.dataclass
class SplitFacts:
    """What reading every record of a split showed.

    Attributes:
        labels: Records of each label.
        num_frames: Of each record.
        num_bytes: Of all videos.
        profiles: Records of each profile; "" is as published.
    """

    labels: collections.Counter[int]
    num_frames: list[int]
    num_bytes: int
    profiles: collections.Counter[str]


def verify(directory: str | os.PathLike, sample: int) -> tuple[str, list[str], list[Checked]]:
    """Reads all records of a dataset and decodes a sample.

    Args:
        directory: Of the dataset.
        sample: Records of each split to decode, evenly spaced.

    Returns:
        A text for people, what is wrong (nothing, if all is well), and the sample.

    Raises:
        ConfigError: No dataset there.
    """
    if not os.path.exists(os.path.join(directory, "dataset_info.json")):
        raise ConfigError(f"{directory} is no prepared dataset: it has no dataset_info.json")
    builder = tfds.builder_from_directory(directory)
    names = builder.info.features["label"].names
    faults: list[str] = []
    checked: list[Checked] = []
    lines = [f"{builder.info.name}: {builder.info.description}"]
    split_of: dict[str, str] = {}
    for split in builder.info.splits:
        source = builder.as_data_source(split)
        facts = _read_split(source, split, split_of, len(names), faults)
        numbers = np.unique(np.linspace(0, len(source) - 1, min(sample, len(source))).astype(int))
        of_split = [check_record(source[int(number)]) for number in numbers]
        faults += [f"{split}: {c.video_id}: {fault}" for c in of_split for fault in c.faults]
        checked += of_split
        lines += _describe(split, facts, names, of_split)
    faults += _compare_with_report(pathlib.Path(directory), builder)
    return "\n".join(lines), faults, checked


def _read_split(
    source: Any,
    split: str,
    split_of: dict[str, str],
    num_classes: int,
    faults: list[str],
) -> SplitFacts:
    facts = SplitFacts(collections.Counter(), [], 0, collections.Counter())
    progress = Progress(f"records of {split} read", len(source), len(source))
    for number in range(len(source)):
        try:
            record = source[number]
        except (RuntimeError, OSError, ValueError) as error:
            faults.append(f"{split}: record {number} cannot be read ({error})")
            continue
        name = record["video_id"].decode()
        if name in split_of:
            faults.append(f"{split}: {name} is also in {split_of[name]}")
        split_of[name] = split
        if not UNLABELLED <= record["label"] < num_classes:
            faults.append(f"{split}: {name} has label {record['label']} of {num_classes} classes")
        facts.labels[record["label"]] += 1
        facts.num_frames.append(record["num_frames"])
        facts.num_bytes += len(record["video"])
        facts.profiles[record["profile"].decode()] += 1
        progress.add(1)
    progress.close()
    return facts


def _describe(
    split: str, facts: SplitFacts, names: Sequence[str], sample: Sequence[Checked]
) -> list[str]:
    frames = np.array(facts.num_frames or [0])
    profiles = ", ".join(
        f"{count} {profile or 'as published'}" for profile, count in facts.profiles.items()
    )
    lines = [
        f"{split}: {len(facts.num_frames)} records, {size(facts.num_bytes)}; {profiles}; "
        f"{frames.min()} to {frames.max()} frames, {np.median(frames):.0f} in the middle",
        *_histogram(facts.labels, names),
    ]
    decoded = [c for c in sample if c.clip is not None]
    if decoded:
        kinds = sum((collections.Counter(c.pictures) for c in decoded), collections.Counter())
        lines.append(
            f"  of {len(sample)} decoded: {_percent([c.with_motion for c in decoded])} of the "
            f"frames have motion vectors, {_percent([c.moving for c in decoded])} of their cells "
            f"move; {', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))}-frames"
        )
    return lines


def _percent(shares: Sequence[float]) -> str:
    return f"{100 * np.mean(shares):.1f} %"


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


def _compare_with_report(directory: pathlib.Path, builder: tfds.core.DatasetBuilder) -> list[str]:
    path = directory / REPORT
    if not path.exists():
        return []
    report = json.loads(path.read_text())["splits"]
    return [
        f"{split}: {found} records, its {REPORT} says {facts['records']}"
        for split, facts in report.items()
        if (found := builder.info.splits[split].num_examples if split in builder.info.splits else 0)
        != facts["records"]
    ]


def draw(sample: Sequence[Checked], title: str) -> UInt8[np.ndarray, "height width 3"]:
    """A sheet of frames, each with its motion below.

    Args:
        sample: Checked records; those that cannot be decoded are passed over.
        title: First line.

    Returns:
        RGB.
    """
    rows = []
    for checked in sample:
        clip = checked.clip
        if clip is None:
            continue
        numbers = np.linspace(0, len(clip.luma) - 1, _COLUMNS).round().astype(int)
        frames = [_fit(frame) for frame in clip.to_rgb(numbers)]
        scale = motion_colours.motion_scale(clip.motion, clip.motion_valid)
        full = clip.luma.shape[1:]
        maps = motion_colours.motion_pictures(
            clip.motion[numbers], clip.motion_valid[numbers], (full[0], full[1]), scale
        )
        name = shorten(os.path.basename(checked.video_id), 20)
        legend = motion_colours.motion_legend(scale)
        rows += [
            Row(f"{name}\n{len(clip.luma)} frames", np.stack(frames)),
            Row(f"motion\n{clip.motion_source}", np.stack([_fit(m) for m in maps]), legend),
        ]
    columns = [f"{100 * i // (_COLUMNS - 1)} %" for i in range(_COLUMNS)]
    return sheet(rows, columns, f"{title}\ncolumns: from the first frame to the last")


def _fit(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """The picture as large as it fits into a tile, on white."""
    factor = min(_TILE[0] / picture.shape[0], _TILE[1] / picture.shape[1])
    height, width = (max(1, round(factor * side)) for side in picture.shape[:2])
    tile = np.full((*_TILE, 3), 255, np.uint8)
    top, left = (_TILE[0] - height) // 2, (_TILE[1] - width) // 2
    image = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
    tile[top : top + height, left : left + width] = np.asarray(image)
    return tile


def _define_flags() -> None:
    flags.DEFINE_integer("sample", 32, "Records of each split to decode.", 1)
    flags.DEFINE_integer("drawn", 6, "Records to draw.", 0)
    flags.DEFINE_string("pictures", None, "The sheet, a PNG file; beside DIR by default.")


def main(argv: Sequence[str]) -> None:
    """Checks the dataset that the command line names."""
    if len(argv) != 2:
        raise app.UsageError("name one directory: python -m data_prep.verify DIR")
    directory, values = argv[1].rstrip("/"), flags.FLAGS
    try:
        text, faults, sample = verify(directory, values.sample)
        print(text)
        drawable = [checked for checked in sample if checked.clip is not None]
        if values.drawn and drawable:
            path = pathlib.Path(values.pictures or f"{directory}.verify.png")
            numbers = np.linspace(0, len(drawable) - 1, min(values.drawn, len(drawable)))
            chosen = [drawable[int(number)] for number in numbers]
            image_files.save_png(path, draw(chosen, os.path.basename(directory)))
            print(f"pictures: {path}")
    except MgmError as error:
        sys.exit(f"error: {error}")
    for fault in faults[:_FAULTS_TOLD]:
        print(f"WRONG: {fault}")
    print(f"{len(faults)} things are wrong" if faults else "all is well")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    # Only in the program itself: another command imported beside it may have equal names.
    _define_flags()
    logging.set_verbosity(logging.INFO)
    app.run(main)
