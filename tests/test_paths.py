import subprocess
import sys

import numpy as np
import pytest

from mgm_jax import paths
from mgm_jax.errors import ConfigError
from mgm_jax.flow import files


def test_a_folder_of_this_machine_stays_what_it_is(tmp_path):
    path = paths.make_path(str(tmp_path))
    assert path == tmp_path == paths.make_path(tmp_path)
    assert not paths.in_bucket(path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"12")
    assert paths.files_below(path) == ["deep/file"]
    assert paths.file_size(path / "deep" / "file") == 2


def test_addresses_that_cannot_be_opened_are_named_with_the_cure(bucket):
    with pytest.raises(ConfigError, match=r"s3://bucket/run: give a folder, or gs://"):
        paths.make_path("s3://bucket/run")
    with pytest.raises(ConfigError, match=r"gs://missing cannot be opened .*legacyBucketReader"):
        paths.make_path("gs://missing/run")
    without_gcsfs = (
        "import sys; sys.modules['gcsfs'] = None; import mgm_jax.paths as p; "
        "p.make_path('gs://bucket/run')"
    )
    ended = subprocess.run([sys.executable, "-c", without_gcsfs], capture_output=True, text=True)
    assert "pip install -r requirements-gcs.txt" in ended.stderr


def test_files_of_a_bucket_are_replaced_whole_and_listed(bucket, tmp_path):
    folder = paths.make_path(f"{bucket}/files")
    assert paths.in_bucket(folder)
    assert paths.absolute(folder) == folder
    files.write_arrays(folder / "deep" / "arrays.npz", {"a": np.arange(3)})
    np.testing.assert_array_equal(files.read_arrays(folder / "deep" / "arrays.npz")["a"], range(3))

    def fail():
        with files.replacing(folder / "text") as file:
            file.write(b"half")
            raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        fail()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "text").write_text("whole")
    paths.upload(tmp_path, folder)
    assert paths.files_below(folder) == ["deep/arrays.npz", "sub/text"]
    assert paths.file_size(folder / "sub" / "text") == 5
    paths.remove_folder(folder)
    assert paths.files_below(folder) == []
