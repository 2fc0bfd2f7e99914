import subprocess
import sys

import numpy as np
import pytest

from mgm_jax import io
from mgm_jax.errors import ConfigError


def test_a_folder_of_this_machine_stays_what_it_is(tmp_path):
    path = io.make_path(str(tmp_path))
    assert path == tmp_path == io.make_path(tmp_path)
    assert not io.in_bucket(path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"12")
    assert io.files_below(path) == ["deep/file"]
    assert io.file_size(path / "deep" / "file") == 2


def test_addresses_that_cannot_be_opened_are_named_with_the_cure(bucket):
    with pytest.raises(ConfigError, match=r"s3://bucket/run: give a folder, or gs://"):
        io.make_path("s3://bucket/run")
    with pytest.raises(ConfigError, match=r"gs://missing cannot be opened .*legacyBucketReader"):
        io.make_path("gs://missing/run")
    without_gcsfs = (
        "import sys; sys.modules['gcsfs'] = None; import mgm_jax.io as p; "
        "p.make_path('gs://bucket/run')"
    )
    ended = subprocess.run([sys.executable, "-c", without_gcsfs], capture_output=True, text=True)
    assert "pip install -r requirements-gcs.txt" in ended.stderr


def test_files_of_a_bucket_are_replaced_whole_and_listed(bucket, tmp_path):
    folder = io.make_path(f"{bucket}/files")
    assert io.in_bucket(folder)
    assert io.absolute(folder) == folder
    io.write_arrays(folder / "deep" / "arrays.npz", {"a": np.arange(3)})
    np.testing.assert_array_equal(io.read_arrays(folder / "deep" / "arrays.npz")["a"], range(3))

    def fail():
        with io.replacing(folder / "text") as file:
            file.write(b"half")
            raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        fail()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "text").write_text("whole")
    io.upload(tmp_path, folder)
    assert io.files_below(folder) == ["deep/arrays.npz", "sub/text"]
    assert io.file_size(folder / "sub" / "text") == 5
    io.remove_folder(folder)
    assert io.files_below(folder) == []


def test_arrays_are_read_back_and_folders_made(tmp_path):
    arrays = {"a/b": np.arange(6.0).reshape(2, 3), "c": np.zeros(0, np.float16)}
    io.write_arrays(tmp_path / "new" / "arrays.npz", arrays)
    read = io.read_arrays(tmp_path / "new" / "arrays.npz")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array, strict=True)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write():
        with io.replacing(path) as file:
            file.write(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


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
