"""Reads lists of videos: csv files with a header, and VideoMAE's lists without one."""

import csv
import dataclasses
import difflib
import io
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence

from mgm_jax.data.class_names import name_classes
from mgm_jax.data.records import UNLABELLED
from mgm_jax.errors import ConfigError, printable

COLUMNS = ("path", "label", "label_id", "split", "group")
_OTHER_NAMES = {
    "path": ("file", "filename", "file_name", "video", "video_path", "filepath"),
    "label": ("class", "class_name", "category", "action"),
    "label_id": ("class_id", "label_index", "class_index"),
    "split": ("set", "subset", "partition"),
}
_NO_LABEL = {"", str(UNLABELLED)}
_LARGEST_NUMBER = 100_000
_BEFORE_NUMBER = re.compile(r"\s*[\s,;]\s*(?=(?:-1|\d+)\s*$)")


@dataclasses.dataclass(frozen=True)
class ListedVideo:
    """One video of a list.

    Attributes:
        path: As it is written in the list.
        label: Number of the class, or `UNLABELLED`.
        split: Empty if the list has no splits.
        group: What must not be divided between training and evaluation, such as a person; empty if
            the list does not say.
    """

    path: str
    label: int
    split: str
    group: str


def read_list(file: str | os.PathLike, flag: str) -> tuple[list[ListedVideo], tuple[str, ...]]:
    """The videos of a list and the names of its classes, in the order of their numbers.

    The first line names the columns, which commas, semicolons or tabs separate: `path`, and
    optionally `label` (the class's name; empty if it has none), `label_id` (its number, if classes
    are not numbered in alphabetical order), `split` ("train" where it is empty) and `group`. Other
    columns are ignored. A list without this line has a path and a class's number on each line, as
    VideoMAE's; its classes are called by their numbers. The text is UTF-8; messages name the flag.

    Raises:
        ConfigError: No such file, a line that cannot be understood, or a contradiction.
    """
    where = f"{flag}: {file}"
    if not os.path.isfile(file):
        raise ConfigError(f"{flag}: no csv file at {os.path.abspath(file)}")
    content = pathlib.Path(file).read_bytes()
    if b"\0" in content:
        raise ConfigError(f"{where} is not UTF-8 text; save it as csv in UTF-8")
    # Names of files may be in any encoding.
    text = content.decode("utf-8-sig", errors="surrogateescape")
    lines = [(n, line) for n, line in enumerate(io.StringIO(text, None), 1) if line.strip()]
    if not lines:
        raise ConfigError(f"{where} is empty; list at least one video")
    delimiter, columns = _header(lines[0][1], where)
    if "path" not in columns and all(_BEFORE_NUMBER.search(line) for _, line in lines):
        columns, found = ["path", "label_id"], list(_read_numbered(lines, where))
    else:
        _check_columns(columns, where)
        _, *found = _read_csv(text, delimiter, where)
    rows = [(line, _row(columns, cells, f"{where}, line {line}")) for line, cells in found]
    if not rows:
        raise ConfigError(f"{where} lists no video below its first line")
    label_of, class_names = _classes(rows, where)
    name_classes({row["split"] for _, row in rows if row["split"]}, f"{where}, column split")
    videos: list[ListedVideo] = []
    seen: dict[str, tuple[int, int]] = {}
    for line, row in rows:
        label = label_of.get(row["label"], UNLABELLED)
        place = os.path.normpath(row["path"])
        before = seen.setdefault(place, (label, line))
        if before[0] != label:
            raise ConfigError(
                f"{where}, lines {before[1]} and {line}: {row['path']!r} has two labels; keep one"
            )
        videos.append(ListedVideo(row["path"], label, row["split"], printable(row["group"])))
    return videos, class_names


def _header(line: str, where: str) -> tuple[str, list[str]]:
    """The delimiter of a list, and the names of its columns."""
    try:
        found = {d: next(csv.reader([line], delimiter=d, skipinitialspace=True)) for d in ",;\t"}
    except csv.Error as error:
        raise ConfigError(f"{where}, line 1: {error}; give a csv file") from error
    delimiter = max(found, key=lambda d: len(found[d]))
    return delimiter, [name.strip() for name in found[delimiter]]


def _check_columns(columns: Sequence[str], where: str) -> None:
    for wanted in COLUMNS:
        if columns.count(wanted) > 1:
            raise ConfigError(f"{where} has two columns {wanted!r}; remove one")
        if wanted in columns:
            continue
        names = (wanted, *_OTHER_NAMES.get(wanted, ()))
        for name in columns:
            if name not in COLUMNS and difflib.get_close_matches(name.lower(), names, 1, 0.8):
                raise ConfigError(
                    f"{where} has a column {name!r} and none named {wanted!r}; if that is meant, "
                    f"write {wanted} in the first line, otherwise remove the column"
                )
    if "path" not in columns:
        raise ConfigError(
            f"{where} has no column 'path' but {', '.join(map(repr, columns))}; its first line "
            "must name the columns: path,label,split (label and split are optional)"
        )


def _read_csv(text: str, delimiter: str, where: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row that is not blank."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    try:
        yield from ((reader.line_num, row) for row in reader if any(map(str.strip, row)))
    except csv.Error as error:
        raise ConfigError(
            f"{where}, line {reader.line_num}: {error}; check the quotation marks"
        ) from None


def _read_numbered(lines: Sequence[tuple[int, str]], where: str) -> Iterator[tuple[int, list[str]]]:
    """Line number, path and class number of each line of a list without a header."""
    for line, text in lines:
        path, number = _BEFORE_NUMBER.split(text)
        if _BEFORE_NUMBER.search(path):
            raise ConfigError(
                f"{where}, line {line} has more than a path and a number; keep these two, or name "
                "the columns in the first line: path,label"
            )
        yield line, [path.strip(' "'), number]


def _row(columns: Sequence[str], cells: Sequence[str], where: str) -> dict[str, str]:
    if len(cells) != len(columns):
        raise ConfigError(
            f"{where} has {len(cells)} values, the first line {len(columns)}; quote values that "
            "contain the separator"
        )
    given = dict(zip(columns, cells, strict=True))
    if not given["path"].strip():
        raise ConfigError(f"{where} has no path; fill it in or remove the row")
    # Of a path, spaces may be part.
    row = {name: given.get(name, "").strip() for name in COLUMNS} | {"path": given["path"]}
    if "label" not in columns:
        row["label"] = row["label_id"]
    if "split" in columns:
        row["split"] = row["split"] or "train"
    return row


def _classes(
    rows: Sequence[tuple[int, Mapping[str, str]]], where: str
) -> tuple[dict[str, int], tuple[str, ...]]:
    """The number of each label as it is written, and the names of the classes."""
    number_of: dict[str, int] = {}
    label_of: dict[int, str] = {}
    numbered = any(row["label_id"] for _, row in rows)
    for line, row in rows:
        label, number = row["label"], row["label_id"]
        if not numbered or (label in _NO_LABEL and number in _NO_LABEL):
            continue
        if label in _NO_LABEL or not number.isdecimal() or int(number) > _LARGEST_NUMBER:
            raise ConfigError(
                f"{where}, line {line} has the label {label!r} and the label_id {number!r}; a "
                f"class needs a name and a number from 0 to {_LARGEST_NUMBER}"
            )
        pair = number_of.setdefault(label, int(number)), label_of.setdefault(int(number), label)
        if pair != (int(number), label):
            raise ConfigError(
                f"{where}, line {line}: class {label!r} has the label_id {number}, but earlier "
                f"lines give it {pair[0]}, and {number} to {pair[1]!r}; correct one"
            )
    named = name_classes({row["label"] for _, row in rows} - _NO_LABEL, where)
    if not numbered:
        names = tuple(sorted(named.values()))
        return {raw: names.index(name) for raw, name in named.items()}, names
    if all(row["label"] == row["label_id"] for _, row in rows):
        # Numbers alone: a list of few videos may lack some classes.
        return number_of, tuple(map(str, range(max(label_of, default=-1) + 1)))
    if sorted(label_of) != list(range(len(label_of))):
        raise ConfigError(
            f"{where}: the label_ids of {len(label_of)} classes are not 0 to {len(label_of) - 1} "
            f"but {', '.join(map(str, sorted(label_of)[:5]))}, ...; correct them, or remove the "
            "column to number the classes alphabetically"
        )
    return number_of, tuple(named[label_of[number]] for number in range(len(label_of)))
