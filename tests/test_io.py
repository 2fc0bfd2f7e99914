import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from mgm_jax import io
from mgm_jax.errors import ConfigError, WriteError


def test_addresses_that_cannot_be_opened_are_named_with_the_cure(bucket):
    with pytest.raises(ConfigError, match=r"s3://bucket/run: .*gs://"):
        io.make_path("s3://bucket/run")
    with pytest.raises(ConfigError, match=r"gs:/bucket/run: .*gs://"):
        io.make_path("gs:/bucket/run")
    with pytest.raises(ConfigError, match=r"gs://missing cannot be opened .*legacyBucketReader"):
        io.make_path("gs://missing/run")
    without_gcsfs = """
import sys; sys.modules['gcsfs'] = None
from mgm_jax import io; io.make_path('gs://bucket/run')
"""
    ended = subprocess.run([sys.executable, "-c", without_gcsfs], capture_output=True, text=True)
    assert "pip install -r requirements-gcs.txt" in ended.stderr


def test_a_tilde_is_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert io.make_path("~/run") == tmp_path / "run"
    for other in ("~no_such_user", "runs/~run"):
        assert str(io.make_path(other)) == other


def test_a_bucket_is_refused_where_a_disk_is_needed(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert io.local_path("~/data", "--out") == tmp_path / "data"
    with pytest.raises(ConfigError, match="--out=gs://bucket/data: give a folder on a disk"):
        io.local_path("gs://bucket/data", "--out")


def test_a_file_of_the_longest_name_is_replaced(tmp_path):
    with io.replacing(tmp_path / ("x" * 255)) as file:
        file.write(b"whole")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"whole"


@pytest.fixture(params=["disk", "bucket"])
def folder(request, tmp_path):
    if request.param == "disk":
        return tmp_path / "files"
    return io.make_path(f"{request.getfixturevalue('bucket')}/files")


def test_files_are_replaced_whole_listed_and_removed(folder):
    assert io.absolute(folder) == folder
    arrays = {"a/b": np.arange(6.0).reshape(2, 3), "c": np.zeros(0, np.float16)}
    io.write_arrays(folder / "deep" / "arrays.npz", arrays)
    read = io.read_arrays(folder / "deep" / "arrays.npz")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array, strict=True)
    (folder / "text").write_bytes(b"old")

    def fail():
        with io.replacing(folder / "text") as file:
            file.write(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert (folder / "text").read_bytes() == b"old"
    assert io.files_below(folder) == ["deep/arrays.npz", "text"]
    io.remove_folder(folder)
    assert io.files_below(folder) == []


HOLD = """
import pathlib, sys
from mgm_jax import io
with io.locked(pathlib.Path(sys.argv[1]), "in use"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_locked_folder_names_its_holder_until_that_is_killed(tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, str(folder)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    expected = rf"in use by process {holder.pid} on {socket.gethostname()} since 20"
    with pytest.raises(ConfigError, match=expected), io.locked(folder, "in use"):
        pass
    holder.kill()
    holder.communicate()
    for _ in range(2):
        with io.locked(folder, "in use"):
            assert str(os.getpid()) in (folder / "lock").read_text()


def test_a_bucket_is_not_locked_and_the_log_says_so(bucket, caplog):
    with io.locked(io.make_path(f"{bucket}/locked"), "in use"):
        assert "cannot be locked" in caplog.text


def test_a_place_that_is_no_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(WriteError, match=r"run cannot be written .*another folder"),
        io.locked(tmp_path / "file" / "run", "in use"),
    ):
        pass


def test_damage_is_found(tmp_path):
    path = tmp_path / "arrays.npz"
    io.write_arrays(path, {"a": np.random.default_rng(0).random(1000)})
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    for content in (whole[: len(whole) // 2], bytes(damaged), b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="damaged"):
            io.read_arrays(path)
