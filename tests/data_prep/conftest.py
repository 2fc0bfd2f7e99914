"""Annotation lists as their publishers lay them out, and folders laid out as downloads are."""

import os
import pathlib

import encoded
import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


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
