"""Any set of videos, listed in a csv file."""

import csv
import os
import pathlib
import re

from data_prep.entries import UNLABELLED, DatasetOptions, Entry, Listing
from data_prep.files import VideoFiles, VideoFinder
from mgm_jax.errors import ConfigError


def read(videos: VideoFiles, options: DatasetOptions) -> Listing:
    """Lists the rows of a csv file with a header.

    Columns: `path`, relative to the video folder, which is also the id; and optionally `label`, the
    name of the class (empty for no class); `label_id`, its index (by default, classes are numbered
    in alphabetical order); and `split` (`train` by default). Other columns are ignored.
    """
    if options.annotations is None or not os.path.isfile(options.annotations):
        raise ConfigError(
            f"--annotations: there is no csv file {options.annotations}; name one with the column "
            "path, and optionally label, label_id and split"
        )
    path = pathlib.Path(options.annotations)
    with path.open(newline="") as file:
        reader = csv.DictReader(file, restval="")
        rows = list(reader)
        columns = reader.fieldnames or []
    if "path" not in columns or not rows:
        raise ConfigError(
            f"--annotations: {path} has the columns {', '.join(columns) or '(none)'} and "
            f"{len(rows)} rows; its first line must name a column path, and rows must follow"
        )
    class_names = _class_names(path, rows)
    label_of = {name: label for label, name in enumerate(class_names)} | {"": UNLABELLED}
    finder = VideoFinder(videos, key=lambda file: file)
    entries = []
    for row in rows:
        file, _ = finder.find(row["path"].removeprefix("./"))
        label = label_of[row.get("label", "")]
        entries.append(Entry(row["path"], row.get("split") or "train", label, file))
    name = re.sub(r"[^a-z0-9_]+", "_", path.stem.lower()).lstrip("0123456789_") or "videos"
    return Listing(
        name, class_names, tuple(entries), f"The videos of {path.name}, {len(class_names)} classes."
    )


def _class_names(path: pathlib.Path, rows: list[dict[str, str]]) -> tuple[str, ...]:
    labelled = [row for row in rows if row.get("label")]
    if "label_id" not in rows[0]:
        return tuple(sorted({row["label"] for row in labelled}))
    index_of: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        if (
            row.get("label")
            and index_of.setdefault(row["label"], row["label_id"]) != row["label_id"]
        ):
            raise ConfigError(
                f"--annotations: {path}, line {number}: class {row['label']!r} has the label_id "
                f"{row['label_id']}, and {index_of[row['label']]} in an earlier line"
            )
    by_index = {index: name for name, index in index_of.items()}
    if set(by_index) != {str(index) for index in range(len(index_of))}:
        raise ConfigError(
            f"--annotations: {path}: the label_ids of {len(index_of)} classes are not 0 to "
            f"{len(index_of) - 1}, each for one class; number them so, or omit the column"
        )
    return tuple(by_index[str(index)] for index in range(len(by_index)))
