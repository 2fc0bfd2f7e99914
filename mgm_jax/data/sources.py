"""Where videos come from: prepared records, a folder of video files, or a csv list of them."""

import csv
import difflib
import os
import pathlib
from collections.abc import Callable

from mgm_jax.data.records import UNLABELLED, RecordSource, VideoRecord, VideoSource
from mgm_jax.errors import ConfigError

VIDEO_SUFFIXES = frozenset(
    (
        *(".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4"),
        *(".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"),
    )
)


class FolderSource:
    """Every video file below a folder; the first folder level names the class.

    Files directly in the folder have no class. Hidden files and folders are ignored. The paths are
    sorted, so the order is the same on every host.

    Raises:
        ConfigError: No such folder, or no video file below it.
    """

    def __init__(self, folder: str):
        root = pathlib.Path(folder)
        if not root.is_dir():
            raise ConfigError(
                f"config.data.path: no folder at {root.absolute()}; give the folder that holds "
                "the videos, or class folders of videos"
            )
        files = sorted(
            file.relative_to(root) for file in _walk(root) if file.suffix.lower() in VIDEO_SUFFIXES
        )
        if not files:
            raise ConfigError(
                f"config.data.path: no video file below {root.absolute()} "
                f"(looked for {', '.join(sorted(VIDEO_SUFFIXES))})"
            )
        self._root = str(root)
        self._files = [str(file) for file in files]
        self.class_names = tuple(sorted({file.parts[0] for file in files if len(file.parts) > 1}))
        label_of = {name: label for label, name in enumerate(self.class_names)}
        self._labels = [
            label_of[file.parts[0]] if len(file.parts) > 1 else UNLABELLED for file in files
        ]

    def __len__(self) -> int:
        """Number of video files."""
        return len(self._files)

    def __getitem__(self, index: int) -> VideoRecord:
        """The video file at a position of the sorted list."""
        file = self._files[index]
        return VideoRecord(os.path.join(self._root, file), file, self._labels[index])

    def describe(self, index: int) -> str:
        """Path of the video file."""
        return os.path.join(self._root, self._files[index])


def _walk(root: pathlib.Path) -> list[pathlib.Path]:
    found = []
    for folder, subfolders, files in os.walk(root, followlinks=True):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        found += [pathlib.Path(folder, name) for name in files if not name.startswith(".")]
    return found


class CsvSource:
    """The video files that a csv file lists.

    Its first line names the columns: `path`, and optionally `label` (the class's name), `label_id`
    (its number, if classes are not numbered in alphabetical order) and `split`. Classes are those
    of the whole file, so that they are the same for every split. Without a `label` the videos have
    no class.

    Args:
        file: The csv file.
        split: Rows to take; ignored if the file has no such column.
        root: Folder that the paths are relative to; the file's own by default.

    Raises:
        ConfigError: No such file, column, split or video, or a class with two numbers.
    """

    def __init__(self, file: str, split: str, root: str = ""):
        path = pathlib.Path(file)
        if not path.is_file():
            raise ConfigError(f"config.data.path: no csv file at {path.absolute()}")
        with path.open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        columns = set(rows[0]) if rows else set()
        if "path" not in columns:
            raise ConfigError(
                f"config.data.path: {path} has no column 'path'; its first line must name the "
                "columns: path,label,split (label and split are optional)"
            )
        if any(None in row or None in row.values() for row in rows):
            line = next(n for n, row in enumerate(rows, 2) if None in row or None in row.values())
            raise ConfigError(
                f"config.data.path: line {line} of {path} does not have as many columns as "
                "the first; quote values that contain commas"
            )
        self.class_names = _class_names(rows, path) if "label" in columns else ()
        chosen = [row for row in rows if row.get("split", split) == split]
        if not chosen:
            raise ConfigError(
                f"config.data.split: {path} has no split {split!r}; it has "
                + ", ".join(sorted({row["split"] for row in rows}))
            )
        self._root = root or str(path.parent)
        self._files = [row["path"] for row in chosen]
        label_of = {name: label for label, name in enumerate(self.class_names)}
        self._labels = [label_of.get(row.get("label", ""), UNLABELLED) for row in chosen]
        missing = [file for file in self._files if not os.path.exists(self._path(file))]
        if missing:
            raise ConfigError(
                f"{len(missing)} of the {len(chosen)} videos that {path} lists do not exist, the "
                f"first is {os.path.abspath(self._path(missing[0]))}; set config.data.root to the "
                "folder that the paths are relative to, or remove the rows"
            )

    def _path(self, file: str) -> str:
        return os.path.join(self._root, file)

    def __len__(self) -> int:
        """Number of rows of the split."""
        return len(self._files)

    def __getitem__(self, index: int) -> VideoRecord:
        """The video of a row."""
        file = self._files[index]
        return VideoRecord(self._path(file), file, self._labels[index])

    def describe(self, index: int) -> str:
        """Path of the video file."""
        return self._path(self._files[index])


def _class_names(rows: list[dict[str, str]], path: pathlib.Path) -> tuple[str, ...]:
    """Names of the classes, ordered by their numbers if given, else alphabetically."""
    if "label_id" not in rows[0]:
        return tuple(sorted({row["label"] for row in rows}))
    try:
        pairs = sorted({(int(row["label_id"]), row["label"]) for row in rows})
    except ValueError as error:
        raise ConfigError(
            f"config.data.path: a label_id of {path} is not a number: {error}"
        ) from None
    if [number for number, _ in pairs] != list(range(len(pairs))):
        raise ConfigError(
            f"config.data.path: the classes of {path} are not numbered 0 to {len(pairs) - 1}, "
            f"each once: {', '.join(f'{number} {name}' for number, name in pairs[:5])}, …; correct "
            "label_id, or remove the column to number them alphabetically"
        )
    return tuple(name for _, name in pairs)


SOURCES: dict[str, Callable[[str, str, str], VideoSource]] = {
    "records": lambda path, split, root: RecordSource(path, split),
    "folder": lambda path, split, root: FolderSource(path),
    "csv": CsvSource,
}


def make_source(kind: str, path: str, split: str, root: str = "") -> VideoSource:
    """Opens the videos that `config.data` names.

    `kind` is `records` (prepared by data_prep), `folder` (of video files; it has no splits) or
    `csv` (a list of video files). For `root`, see `CsvSource`.

    Raises:
        ConfigError: Unknown kind, no path or a remote one, nothing at the path, no video, or no
            such split.
    """
    if kind not in SOURCES:
        near = difflib.get_close_matches(kind, SOURCES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"config.data.source: {kind!r} is not one of {', '.join(SOURCES)}{hint}")
    if not path:
        raise ConfigError("config.data.path is empty: give the data with --config.data.path=DIR")
    for name, place in (("path", path), ("root", root)):
        if "://" in place:
            raise ConfigError(
                f"config.data.{name}={place}: videos are read from a disk of this host; copy the "
                f"data to it first (gcloud storage rsync -r {place} DIR) and give that folder"
            )
    return SOURCES[kind](path, split, root)
