"""Annotation lists as their publishers lay them out, and folders laid out as downloads are."""

import os
import pathlib
import subprocess
from collections.abc import Callable
from typing import Any

import command_line
import encoded
import pytest

from data_prep.conversion import Settings
from data_prep.entries import DatasetOptions
from data_prep.files import VideoFiles
from data_prep.prepare import prepare

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
LOW_DELAY = Settings("low_delay", 72)


@pytest.fixture(scope="session")
def annotations() -> pathlib.Path:
    """Folder of official annotation files (`ssv2/`, ...), named by MGM_TEST_ANNOTATIONS."""
    default = REPOSITORY.parent / "shared" / "data" / "annotations"
    folder = pathlib.Path(os.environ.get("MGM_TEST_ANNOTATIONS", default))
    if not folder.is_dir():
        message = (
            f"no annotation files at {folder}; set MGM_TEST_ANNOTATIONS to a folder that holds them"
        )
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def one_video() -> bytes:
    """A short H.264 video with B-frames, 144x176, 20 frames, as a download may be."""
    return encoded.encode(encoded.moving_square(20), options=encoded.B_FRAMES)


@pytest.fixture(scope="session")
def low_delay_video() -> bytes:
    """A video as `prepare` encodes it, 144x176, 20 frames."""
    return encoded.encode(encoded.moving_square(20))


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.CompletedProcess]:
    """Runs a module of `data_prep` with arguments, as a user does."""

    def command(module: str, *arguments: Any, **python: str) -> Any:
        done = command_line.run(f"data_prep.{module}", *map(str, arguments), **python)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return command


@pytest.fixture
def videos(tmp_path: pathlib.Path, one_video: bytes) -> pathlib.Path:
    """Seven videos: two classes, one without class, one unreadable, and one WebM file."""
    folder = tmp_path / "videos"
    for name in ("b/1.mp4", "b/2.mp4", "a/3.mp4", "a/4.mp4", "5.mp4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(one_video)
    (folder / "a/broken.mp4").write_bytes(one_video[:2000])
    (folder / "a/6.webm").write_bytes(
        encoded.encode(encoded.moving_square(9), "libvpx-vp9", "webm", options={"cpu-used": "8"})
    )
    return folder


@pytest.fixture(scope="session")
def run() -> Callable[..., dict[str, Any] | None]:
    """`prepare` of class folders, or of another dataset."""

    def run(
        videos: pathlib.Path,
        out: pathlib.Path,
        dataset: str = "folder",
        annotations: pathlib.Path | None = None,
        settings: Settings = LOW_DELAY,
        **more: Any,
    ) -> dict[str, Any] | None:
        options = DatasetOptions(None if annotations is None else str(annotations))
        return prepare(dataset, str(videos), out, options=options, settings=settings, **more)

    return run


@pytest.fixture(scope="session")
def contents() -> Callable[[pathlib.Path], dict[str, bytes]]:
    """The bytes of all files of a dataset."""
    return lambda out: {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.fixture
def lay_out(tmp_path: pathlib.Path) -> Callable[..., VideoFiles]:
    """Makes empty video files, whose paths are given, below a folder."""

    def make(*paths: str) -> VideoFiles:
        for path in paths:
            file = tmp_path / "videos" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        return VideoFiles(tmp_path / "videos")

    return make
