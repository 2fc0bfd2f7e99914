"""Set-up of all tests: eight virtual CPU devices, run-time checks of annotations, videos."""

import os
import pathlib
from collections.abc import Iterator

import quick_compilation

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = " ".join(
    (
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        quick_compilation.XLA_FLAGS,
    )
)

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]

# Compiled programs are shared between tests, processes and runs.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(REPOSITORY / "runs" / "test_compiled"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

from jaxtyping import install_import_hook

install_import_hook(["mgm_jax", "data_prep"], "typechecker.typecheck")

import emulated_bucket
import pytest
import rendered


@pytest.fixture(scope="session")
def real_videos() -> pathlib.Path:
    """Folder of real videos (`jhmdb/`, `weizmann/`, `mixed/`); MGM_TEST_VIDEOS names it."""
    default = REPOSITORY.parent / "shared" / "data" / "videos"
    folder = pathlib.Path(os.environ.get("MGM_TEST_VIDEOS", default))
    if not folder.is_dir():
        message = f"no real videos at {folder}; set MGM_TEST_VIDEOS to a folder that holds them"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def video_folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Twelve small H.264 videos in two class folders; read-only."""
    return rendered.write_folder(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """URL of an emulated bucket that all tests share; each uses its own folder."""
    with emulated_bucket.running() as address:
        yield address
