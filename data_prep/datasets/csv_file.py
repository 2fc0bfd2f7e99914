"""Any set of videos that a csv file lists."""

import csv
import os
import pathlib
import re

from data_prep.entries import Entry, Listing
from data_prep.files import VideoFiles, VideoFinder
from data_prep.records import UNLABELLED
from mgm_jax.errors import ConfigError


def read(videos: VideoFiles, annotations: str | os.PathLike | None) -> Listing:
    """Lists the rows of a csv file with a header.

    Columns: `path`, below the folder of videos, which is also the id; and, if there, `label`, the
    name of the class; `label_id`, its index (without it, labels are the names in alphabetical
    order); `split` (without it, all is `train`). Other columns are not read.

    Args:
        videos: The videos.
        annotations: The csv file.

    Returns:
        The listing; a row whose label is empty has no class.

    Raises:
        ConfigError: No file, no column `path`, or names and indices that do not belong together.
    """
    if annotations is None or not os.path.isfile(annotations):
        raise ConfigError(
            f"--annotations: there is no csv file {annotations}; name one with the columns path, "
            "and label, label_id and split as you have them"
        )
    path = pathlib.Path(annotations)
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
                f"{row['label_id']}, and {index_of[row['label']]} further up"
            )
    by_index = {index: name for name, index in index_of.items()}
    if set(by_index) != {str(index) for index in range(len(index_of))}:
        raise ConfigError(
            f"--annotations: {path}: the label_ids of {len(index_of)} classes are not 0 to "
            f"{len(index_of) - 1}, each of one class; number them so, or leave the column out"
        )
    return tuple(by_index[str(index)] for index in range(len(by_index)))
