"""Finding the videos and the annotation files of a dataset, wherever below a folder they lie."""

import os
import pathlib
from collections.abc import Callable, Iterable, Iterator

from mgm_jax.data.sources import VIDEO_SUFFIXES
from mgm_jax.errors import ConfigError


def stem(path: str) -> str:
    """The file's name without folders and suffix."""
    return os.path.splitext(os.path.basename(path))[0]


class VideoFiles:
    """The video files below a folder, listed once.

    Links are followed; hidden files and folders are passed over.

    Args:
        folder: Where the downloaded videos lie, in any depth.
        flag: Name of the flag that gave the folder, for messages.

    Attributes:
        folder: The same, absolute.
        paths: Paths below it, with slashes, sorted.

    Raises:
        ConfigError: No folder, or no video in it.
    """

    def __init__(self, folder: str | os.PathLike, flag: str = "--videos") -> None:
        self.folder = os.path.abspath(folder)
        if not os.path.isdir(self.folder):
            raise ConfigError(f"{flag}: there is no folder {self.folder}; check the path")
        self.paths = tuple(sorted(self._walk()))
        if not self.paths:
            raise ConfigError(
                f"{flag}: there is no video below {self.folder} "
                f"(looked for {', '.join(sorted(VIDEO_SUFFIXES))}); check the path"
            )

    def _walk(self) -> Iterator[str]:
        seen = set()
        for folder, subfolders, names in os.walk(self.folder, followlinks=True):
            # A link may lead back up.
            here = os.path.realpath(folder)
            if here in seen:
                subfolders.clear()
                continue
            seen.add(here)
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            for name in names:
                if os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES and name[0] != ".":
                    path = os.path.relpath(os.path.join(folder, name), self.folder)
                    yield path.replace(os.sep, "/")


class VideoFinder:
    """Finds videos by a key made of their path, the stem of the file name by default.

    Args:
        files: The videos.
        key: Makes the key of a path; None leaves the file out.
    """

    def __init__(self, files: VideoFiles, key: Callable[[str], str | None] = stem) -> None:
        self._paths: dict[str, list[str]] = {}
        for path in files.paths:
            name = key(path)
            if name is not None:
                self._paths.setdefault(name, []).append(path)

    def find(self, key: str, folders: Iterable[str] = ()) -> tuple[str | None, tuple[str, ...]]:
        """Looks a video up.

        Args:
            key: As the finder's `key` makes it.
            folders: Names of folders that speak for a file, where several have this key.

        Returns:
            The path, None if there is none, and the paths that were as good.
        """
        paths = self._paths.get(key, [])
        if len(paths) > 1:
            hints = set(folders)
            matches = {path: len(hints.intersection(path.split("/")[:-1])) for path in paths}
            best = max(matches.values())
            paths = [path for path in paths if matches[path] == best]
        return (paths[0], tuple(paths[1:])) if paths else (None, ())


class AnnotationFiles:
    """The annotation files of a dataset, found by name in any depth of a folder.

    Args:
        folder: Where they lie; None if the command line did not say.
        where_from: Where a person gets them, for messages.

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
                f"--annotations: there is no folder {self.folder}; it is to hold the annotation "
                f"files {where_from}"
            )

    def find(self, *names: str) -> pathlib.Path | None:
        """Finds a file.

        Args:
            names: What it may be called, the best first; may hold wildcards.

        Returns:
            The first that is there, None if none is.
        """
        for name in names:
            for path in sorted(self.folder.rglob(name)):
                if path.is_file():
                    return path
        return None

    def get(self, *names: str) -> pathlib.Path:
        """Finds a file that has to be there; as `find`, but raises ConfigError."""
        path = self.find(*names)
        if path is None:
            raise ConfigError(
                f"--annotations: there is no {' or '.join(names)} below {self.folder}; get the "
                f"annotation files {self._where_from}"
            )
        return path

    def all(self, pattern: str) -> list[pathlib.Path]:
        """All files whose name matches a pattern, sorted by name; at least one."""
        self.get(pattern)
        return sorted(self.folder.rglob(pattern), key=lambda path: path.name)
