import pytest

from mgm_jax.data.sources import UNLABELLED, FolderSource, make_source
from mgm_jax.errors import ConfigError


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"not read")


def test_class_folders_give_labels_in_sorted_order(tmp_path):
    touch(tmp_path, "wave/b.mp4", "wave/deep/a.MKV", "jump/c.avi", "jump/notes.txt", ".hid/x.mp4")
    source = FolderSource(str(tmp_path))
    assert source.class_names == ("jump", "wave")
    assert [source[i].video_id for i in range(len(source))] == [
        "jump/c.avi",
        "wave/b.mp4",
        "wave/deep/a.MKV",
    ]
    assert [source[i].label for i in range(len(source))] == [0, 1, 1]
    assert source.describe(0) == str(tmp_path / "jump/c.avi") == source[0].video


def test_a_flat_folder_is_unlabelled(tmp_path):
    touch(tmp_path, "a.webm", "b.mp4")
    source = FolderSource(str(tmp_path))
    assert source.class_names == ()
    assert {source[i].label for i in range(len(source))} == {UNLABELLED}


def test_names_with_brackets_and_signs_are_found(tmp_path):
    touch(tmp_path, "x/(HQ) [1]_300+_Yards!!!.avi")
    assert len(FolderSource(str(tmp_path))) == 1


def test_bad_paths_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no folder at .*missing"):
        FolderSource(str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match="no video file below"):
        FolderSource(str(tmp_path))
    touch(tmp_path, "notes.txt")
    with pytest.raises(ConfigError, match=r"looked for .*\.mp4"):
        FolderSource(str(tmp_path))
    with pytest.raises(ConfigError, match=r"--config\.data\.path"):
        make_source("folder", "", "train")
    with pytest.raises(ConfigError, match="did you mean 'folder'"):
        make_source("folders", str(tmp_path), "train")
    with pytest.raises(ConfigError, match=r"dataset_info\.json.*source=folder"):
        make_source("records", str(tmp_path), "train")
