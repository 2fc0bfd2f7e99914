"""Finds the videos and the annotation files of a dataset at any depth below a folder."""

import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping

from data_prep.entries import UNLABELLED, Entry, KeyFrame, Listing
from mgm_jax.data.sources import find_videos
from mgm_jax.errors import ConfigError


def stem(path: str) -> str:
    """The file's name without folders and suffix."""
    return os.path.splitext(os.path.basename(path))[0]


def read_text(path: pathlib.Path) -> str:
    """An annotation file in UTF-8, without its byte-order mark; names of files may be in any."""
    return path.read_bytes().decode("utf-8-sig", errors="surrogateescape")


class VideoFiles:
    """The video files at any depth below a folder, as `mgm_jax.data.sources.find_videos` sees them.

    Attributes:
        folder: Absolute path.

    Raises:
        ConfigError: No folder.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = os.path.abspath(folder)
        if not os.path.isdir(self.folder):
            raise ConfigError(f"--videos: there is no folder {self.folder}; check the path")

    @functools.cached_property
    def paths(self) -> tuple[str, ...]:
        """Paths relative to the folder, with slashes, sorted; raises ConfigError for none."""
        return tuple(sorted(path.as_posix() for path in find_videos(self.folder, "--videos")))


class VideoFinder:
    """Finds videos by a key that is computed from their path, by default `stem`."""

    def __init__(self, files: VideoFiles, key: Callable[[str], str] = stem) -> None:
        self._paths: dict[str, list[str]] = {}
        for path in files.paths:
            self._paths.setdefault(key(path), []).append(path)

    def entry(
        self,
        video: str,
        split: str,
        label: int,
        *,
        folders: Iterable[str] = (),
        key: str | None = None,
        key_frame: KeyFrame | None = None,
    ) -> Entry:
        """The entry with the id `video`, whose file has this `key`, by default its id.

        Of several files with this key, those in a folder of replacements (Kinetics-400 has one, for
        files that are corrupted) match best, and then those in the most of these `folders`; of
        these the first is taken.
        """
        paths = self._paths.get(key or video, [])
        file = max(paths, key=functools.partial(_match, frozenset(folders)), default=None)
        others = [path for path in paths if path != file]
        return Entry(video, split, label, file, key_frame, tuple(others))

    def listing(
        self,
        name: str,
        description: str,
        class_names: tuple[str, ...],
        rows: Iterable[tuple[str, str, str]],
        folders: Mapping[str, tuple[str, ...]] | None = None,
    ) -> Listing:
        """The data set of the rows (split, video, class name or "").

        Files are best in a folder that is named like the class, or in `folders` of the split.

        Raises:
            ConfigError: A class of a row is unknown.
        """
        label_of = {name: label for label, name in enumerate(class_names)} | {"": UNLABELLED}
        rows = list(rows)
        for split, video, class_name in rows:
            if class_name not in label_of:
                raise ConfigError(
                    f"--annotations: {video} of {split} is of the class {class_name!r}, which is "
                    f"not among the {len(class_names)} classes of the data set"
                )
        places = folders or {}
        entries = tuple(
            self.entry(
                video, split, label_of[class_name], folders=(*places.get(split, ()), class_name)
            )
            for split, video, class_name in rows
        )
        return Listing(name, class_names, entries, description)


def _match(folders: frozenset[str], path: str) -> tuple[bool, int]:
    parts = path.split("/")[:-1]
    replaces = any(part.startswith("replacement") for part in parts)
    return replaces, len(folders.intersection(parts))


class AnnotationFiles:
    """The annotation files of a dataset, found by name at any depth below a folder.

    `where_from` tells the user in error messages where to get them.

    Raises:
        ConfigError: No folder.
    """

    def __init__(self, folder: str | os.PathLike | None, where_from: str) -> None:
        self._where_from = where_from
        if folder is None:
            raise ConfigError(
                f"--annotations: name the folder of the annotation files {where_from}"
            )
        self.folder = pathlib.Path(folder).absolute()
        if not self.folder.is_dir():
            raise ConfigError(
                f"--annotations: there is no folder {self.folder}; it must hold the annotation "
                f"files {where_from}"
            )

    def find(self, *names: str) -> pathlib.Path | None:
        """The file with the first of these names (or patterns) that exists, or None."""
        for name in names:
            for path in sorted(self.folder.rglob(name)):
                if path.is_file():
                    return path
        return None

    def get(self, *names: str) -> pathlib.Path:
        """Like `find`, but raises ConfigError if there is none."""
        path = self.find(*names)
        if path is None:
            raise ConfigError(
                f"--annotations: there is no {' or '.join(names)} below {self.folder}; get the "
                f"annotation files {self._where_from}"
            )
        return path

    def all(self, pattern: str) -> list[pathlib.Path]:
        """All files whose name matches a pattern, sorted by name; raises ConfigError for none."""
        self.get(pattern)
        return sorted(self.folder.rglob(pattern), key=lambda path: path.name)
