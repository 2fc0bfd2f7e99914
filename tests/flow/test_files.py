import numpy as np
import pytest

from mgm_jax.flow import files


def test_arrays_are_read_back_and_folders_made(tmp_path):
    arrays = {"a/b": np.arange(6.0).reshape(2, 3), "c": np.zeros(0, np.float16)}
    files.write_arrays(tmp_path / "new" / "arrays.npz", arrays)
    read = files.read_arrays(tmp_path / "new" / "arrays.npz")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array, strict=True)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write():
        with files.replacing(path) as file:
            file.write(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_damage_is_found(tmp_path):
    path = tmp_path / "arrays.npz"
    files.write_arrays(path, {"a": np.random.default_rng(0).random(1000)})
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    for content in (whole[: len(whole) // 2], bytes(damaged), b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="damaged"):
            files.read_arrays(path)
