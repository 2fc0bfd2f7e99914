import shutil
import subprocess
import sys

import pytest
from absl.testing import flagsaver

from data_prep import demo
from mgm_jax import io
from mgm_jax.data import local_copy
from mgm_jax.data.sources import make_source
from mgm_jax.errors import ConfigError


@pytest.fixture
def cache(tmp_path):
    with flagsaver.flagsaver(data_cache=str(tmp_path / "cache")):
        yield tmp_path / "cache"


def change_times(folder):
    return {name: (folder / name).stat().st_mtime_ns for name in io.files_below(folder)}


def test_records_are_copied_by_split_once_and_read(bucket, cache, tmp_path):
    demo.make_demo(tmp_path / "demo", num_train=2, num_validation=1, seed=0)
    io.upload(tmp_path / "demo", io.make_path(f"{bucket}/demo"))
    source = make_source("records", f"{bucket}/demo", "validation")
    assert source[0] == make_source("records", str(tmp_path / "demo"), "validation")[0]
    copies = change_times(cache / "bucket" / "demo")
    assert not any("-train." in name for name in copies)
    assert len(make_source("records", f"{bucket}/demo/", "train")) == 2
    again = change_times(cache / "bucket" / "demo")
    shards = [name for name in copies if "array_record" in name]
    assert shards
    assert all(again[name] == copies[name] for name in shards)
    with pytest.raises(ConfigError, match="no split 'test'"):
        make_source("records", f"{bucket}/demo", "test")
    with pytest.raises(ConfigError, match=r"nothing to read below gs://bucket/none; .* no files"):
        make_source("records", f"{bucket}/none", "train")


def test_a_csv_list_and_a_folder_bring_their_videos(bucket, cache, video_folder, tmp_path):
    shutil.copytree(video_folder, tmp_path / "videos")
    listed = sorted(file for file in io.files_below(tmp_path / "videos"))[:2]
    rows = "".join(f"{file},train\n" for file in listed)
    (tmp_path / "videos" / "list.csv").write_text("path,split\n" + rows + "absent.mp4,test\n")
    io.upload(tmp_path / "videos", io.make_path(f"{bucket}/videos"))
    source = make_source("csv", f"{bucket}/videos/list.csv", "train")
    assert [source[item].video_id for item in range(len(source))] == listed
    copies = set(io.files_below(cache / "bucket" / "videos"))
    assert copies - {".lock", ".copied.jsonl"} == {"list.csv", *listed}
    assert len(make_source("folder", f"{bucket}/videos", "")) == 12


def test_what_is_half_copied_or_has_changed_is_copied_again(bucket, cache, monkeypatch):
    folder = io.make_path(f"{bucket}/letters")
    for name in "abc":
        (folder / name).write_text(name)
    here = cache / "bucket" / "letters"
    assert local_copy.copy_here(str(folder), "ab".__contains__) == str(here)
    (folder / "b").write_text("B")  # As long as it was.
    notes = here / ".copied.jsonl"
    notes.write_text(notes.read_text() + '\n["c", [1, ')  # Killed in the middle.
    (here / ".c.part").write_text("?")
    before = (here / "a").stat().st_mtime_ns
    local_copy.copy_here(str(folder), "abc".__contains__)
    assert [(here / name).read_text() for name in "abc"] == ["a", "B", "c"]
    assert (here / "a").stat().st_mtime_ns == before

    usage = shutil.disk_usage(cache)._replace(free=0)
    monkeypatch.setattr(local_copy.shutil, "disk_usage", lambda folder: usage)
    local_copy.copy_here(str(folder), "abc".__contains__)
    (folder / "c").write_text("C")
    with pytest.raises(ConfigError, match=r"gs://bucket/letters: .* --data_cache=DIR"):
        local_copy.copy_here(str(folder), "abc".__contains__)


def test_a_second_process_waits_for_the_first(bucket, cache):
    (io.make_path(f"{bucket}/one") / "file").write_text("content")
    here = cache / "bucket" / "one"
    program = (
        "from absl import flags, logging; from mgm_jax.data import local_copy; "
        "logging.set_verbosity(logging.INFO); "
        f"flags.FLAGS(['', '--data_cache={cache}']); "
        f"print(local_copy.copy_here('{bucket}/one', lambda name: True))"
    )
    here.mkdir(parents=True)
    with local_copy._alone_in(here):
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        while "waiting" not in (line := process.stderr.readline()):
            assert line, "it does not wait"
        assert not (here / "file").exists()
    assert process.communicate(timeout=120)[0].strip() == str(here)
    assert (here / "file").read_text() == "content"
