"""Where videos come from: prepared records, a folder of video files, or a list of them."""

import collections
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

from absl import logging
from ml_collections import ConfigDict

from mgm_jax.data.class_names import name_classes, splits_among
from mgm_jax.data.csv_lists import read_list
from mgm_jax.data.identity import VideoFacts, group_of
from mgm_jax.data.records import UNLABELLED, RecordSource, VideoRecord, VideoSource
from mgm_jax.data.subsets import parse_split, take_slice
from mgm_jax.errors import ConfigError, printable

VIDEO_SUFFIXES = frozenset(
    (
        *(".264", ".265", ".3g2", ".3gp", ".3gpp", ".amv", ".asf", ".avi", ".divx", ".dv", ".f4v"),
        *(".flv", ".gif", ".h264", ".h265", ".hevc", ".ivf", ".m1v", ".m2p", ".m2t", ".m2ts"),
        *(".m2v", ".m4v", ".mj2", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpe"),
        *(".mpeg", ".mpg", ".mpv", ".mts", ".mxf", ".nut", ".obu", ".ogm", ".ogv", ".qt", ".rm"),
        *(".rmvb", ".ts", ".vob", ".webm", ".wmv", ".wtv", ".xvid", ".y4m"),
    )
)
"""Files with these suffixes are taken for videos where a folder is searched."""


def find_videos(folder: str | os.PathLike, flag: str) -> list[pathlib.PurePath]:
    """The video files at any depth below a folder, relative to it, in no particular order.

    Links are followed, but every folder is read once, under its own name if it is below `folder`,
    and a link upwards is ignored. Hidden files and folders are ignored too. The log says how many
    other files there are. Messages name the flag.

    Raises:
        ConfigError: No such folder, one that cannot be read, or no video file below it.
    """
    root = os.path.abspath(folder)
    if not os.path.isdir(root):
        raise ConfigError(
            f"{flag}: no folder at {root}; give the folder that holds the videos, or class folders "
            "of videos"
        )
    try:
        paths = [pathlib.PurePath(os.path.relpath(path, root)) for path in _walk(root)]
    except OSError as error:
        raise ConfigError(f"{flag}: {root} cannot be searched: {error}") from error
    suffixes = [path.suffix.lower() for path in paths]
    found = [p for p, suffix in zip(paths, suffixes, strict=True) if suffix in VIDEO_SUFFIXES]
    ignored = collections.Counter(s or "none" for s in suffixes if s not in VIDEO_SUFFIXES)
    counts = ", ".join(f"{printable(name)} ({n})" for name, n in ignored.most_common(10))
    if not found and any(path.name == "dataset_info.json" for path in paths):
        raise ConfigError(
            f"{flag}: {root} holds prepared records, not video files; training reads them with "
            "--config.data.source=records"
        )
    if not found:
        raise ConfigError(
            f"{flag}: no video file below {root} (looked for {', '.join(sorted(VIDEO_SUFFIXES))}; "
            f"found {counts or 'no file'}); name files of other suffixes in a csv list"
        )
    if ignored:
        logging.warning(
            "%d files below %s are not taken for videos, by their suffixes: %s; those that are can "
            "be named in a csv list",
            ignored.total(),
            printable(root),
            counts,
        )
    return found


def _walk(root: str) -> Iterator[str]:
    """The files below a folder, each once; folders of its own come before those behind links."""
    tops, seen = collections.deque([root]), set[str]()
    while tops:
        for folder, folders, files in os.walk(tops.popleft(), onerror=_raise):
            place = os.path.realpath(folder)
            if place in seen:
                logging.warning("%s links to a folder that is read; ignored", printable(folder))
                folders.clear()
                continue
            seen.add(place)
            folders[:] = sorted(name for name in folders if name[0] != ".")
            for link in filter(os.path.islink, (os.path.join(folder, name) for name in folders)):
                above = (place, os.path.realpath(root))
                target = os.path.realpath(link)
                if target in (os.path.commonpath((target, path)) for path in above):
                    logging.warning("%s links upwards; ignored", printable(link))
                else:
                    tops.append(link)
            yield from (os.path.join(folder, name) for name in files if name[0] != ".")


def _raise(error: OSError) -> None:
    raise error


class FileSource:
    """Video files with labels.

    Paths are relative to `root`; labels are numbers of classes, or `UNLABELLED`. For the groups,
    see `VideoFacts.group`; by default they are what the names of the files say.
    """

    def __init__(
        self,
        root: str,
        files: Sequence[str],
        labels: Sequence[int],
        class_names: tuple[str, ...],
        groups: Sequence[str] = (),
    ):
        self._root, self._files, self._labels = root, tuple(files), tuple(labels)
        self._groups = tuple(groups) or ("",) * len(self._files)
        self.class_names = class_names

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> VideoRecord:
        """The file at a position."""
        file = self._files[index]
        return VideoRecord(os.path.join(self._root, file), printable(file), self._labels[index])

    def describe(self, index: int) -> str:
        """Path of the file."""
        return printable(os.path.join(self._root, self._files[index]))

    def facts(self) -> list[VideoFacts]:
        """What the list of the files says."""
        return [
            VideoFacts(name, label, group or group_of(name), os.path.join(self._root, file))
            for file, label, group in zip(self._files, self._labels, self._groups, strict=True)
            for name in [printable(file)]
        ]


class FolderSource(FileSource):
    """Every video file below a folder (see `find_videos`); the first folder level names the class.

    Files directly in the folder have no class. The paths are sorted, so the order is the same on
    every host.

    Raises:
        ConfigError: No such folder, no video file below it, classes of one name, or folders of
            several splits in place of classes.
    """

    def __init__(self, folder: str, flag: str = "config.data.path"):
        files = sorted(find_videos(folder, flag))
        folders = [file.parts[0] if len(file.parts) > 1 else "" for file in files]
        splits = splits_among(folders)
        if len(set(splits.values())) > 1:
            raise ConfigError(
                f"{flag}={folder}: its folders {', '.join(sorted(splits))} are splits, not "
                "classes; name them with --config.data.path and --config.eval.path"
            )
        names = name_classes(set(folders) - {""}, f"{flag}: {folder}")
        class_names = tuple(sorted(names.values()))
        label_of = {name: label for label, name in enumerate(class_names)}
        labels = [label_of[names[name]] if name else UNLABELLED for name in folders]
        super().__init__(str(folder), [str(file) for file in files], labels, class_names)


class CsvSource(FileSource):
    """The video files that a list names (see `csv_lists.read_list`).

    A list without splits is taken whole. Classes are those of the whole list, so that they are the
    same for every split. Paths are relative to `root`, by default the list's own folder.

    Raises:
        ConfigError: The list cannot be read, or has no such split or video.
    """

    def __init__(self, file: str, split: str, root: str = ""):
        videos, class_names = read_list(file, "config.data.path")
        root = root or str(pathlib.Path(file).parent)
        chosen = [video for video in videos if video.split in ("", split)]
        if not chosen:
            raise ConfigError(
                f"config.data.split: {file} has no split {split!r}; it has "
                + ", ".join(sorted({video.split for video in videos}))
            )
        files = [existing(root, video.path) for video in chosen]
        missing = [video.path for video, found in zip(chosen, files, strict=True) if not found]
        if missing:
            first = os.path.abspath(os.path.join(root, missing[0]))
            raise ConfigError(
                f"{len(missing)} of the {len(chosen)} videos that {file} lists do not exist, the "
                f"first is {printable(first)}; set config.data.root to the folder that the paths "
                "are relative to, or remove the rows"
            )
        labels, groups = ([getattr(v, name) for v in chosen] for name in ("label", "group"))
        super().__init__(root, list(filter(None, files)), labels, class_names, groups)


def existing(root: str, path: str) -> str | None:
    """The path of a list under which there is a file: as written, or without spaces around it."""
    for place in (path, path.strip()):
        if os.path.isfile(os.path.join(root, place)):
            return place
    return None


SOURCES: dict[str, Callable[[str, str, str], VideoSource]] = {
    "records": lambda path, split, root: RecordSource(path, split),
    "folder": lambda path, split, root: FolderSource(path),
    "csv": CsvSource,
}


def make_source(
    kind: str, path: str, split: str, root: str = "", flags: str = "config.data"
) -> VideoSource:
    """Opens the videos that `config.data` names, or the values that begin with `flags`.

    `kind` is `records` (prepared by data_prep), `folder` (of video files; it has no splits) or
    `csv` (a list of video files). `split` may be a slice, as `train[:600]` or `train[:10%]`. For
    `root`, see `CsvSource`.

    Raises:
        ConfigError: Unknown kind, no path or a remote one, nothing at the path, no video, or no
            such split or slice.
    """
    if kind not in SOURCES:
        raise ConfigError(f"config.data.source: {kind!r} is not one of {', '.join(SOURCES)}")
    if not path:
        raise ConfigError("config.data.path is empty: give the data with --config.data.path=DIR")
    for name, place in (("path", path), ("root", root)):
        if "://" in place:
            raise ConfigError(
                f"config.data.{name}={place}: videos are read from a disk of this host; copy the "
                f"data to it first (gcloud storage rsync -r {place} DIR) and give that folder"
            )
    try:
        name, bounds = parse_split(split)
        source = SOURCES[kind](path, name, root)
        return source if bounds is None else take_slice(source, bounds, split)
    except ConfigError as error:
        raise ConfigError(str(error).replace("config.data.", f"{flags}.")) from error


def open_source(data: ConfigDict) -> VideoSource:
    """Opens the videos that a run's `config.data` names; see `make_source`.

    Raises:
        ConfigError: As `make_source`, or the data has no splits and `data.split` names another one
            than its default, `train`.
    """
    name, _ = parse_split(data.split)
    source = make_source(data.source, data.path, data.split, data.root)
    if name not in ("", "train") and not has_splits(data.source, data.path):
        raise ConfigError(
            f"config.data.split={data.split}: {data.path} has no splits, so all its videos would "
            "be taken; leave the split out (to resume, with --config.allow_config_change), or list "
            "the videos in a csv file with a column 'split'"
        )
    return source


def has_splits(kind: str, path: str) -> bool:
    """Whether the videos at a path, which can be opened, are divided into splits."""
    if kind == "csv":
        return any(video.split for video in read_list(path, "config.data.path")[0])
    return kind == "records"
