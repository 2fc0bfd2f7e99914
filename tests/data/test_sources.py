import pytest

from data_prep.datasets import read_dataset
from data_prep.entries import DatasetOptions
from data_prep.files import VideoFiles
from mgm_jax import base_config
from mgm_jax.data.records import UNLABELLED
from mgm_jax.data.sources import CsvSource, FolderSource, find_videos, make_source, open_source
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
    touch(tmp_path, "a.webm", "(HQ) [1]_300+_Yards!!!.avi")
    source = FolderSource(str(tmp_path))
    assert len(source) == 2
    assert source.class_names == ()
    assert {source[i].label for i in range(len(source))} == {UNLABELLED}


def test_bad_paths_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no folder at .*missing"):
        FolderSource(str(tmp_path / "missing"))
    touch(tmp_path, "notes.txt")
    with pytest.raises(ConfigError, match=r"looked for .*\.mp4"):
        FolderSource(str(tmp_path))
    with pytest.raises(ConfigError, match=r"--config\.data\.path"):
        make_source("folder", "", "train")
    with pytest.raises(ConfigError, match="'folders' is not one of records, folder, csv"):
        make_source("folders", str(tmp_path), "train")
    with pytest.raises(ConfigError, match=r"dataset_info\.json.*source=folder"):
        make_source("records", str(tmp_path), "train")
    for given in ({"path": "gs://bucket/videos"}, {"path": ".", "root": "gs://bucket/videos"}):
        with pytest.raises(ConfigError, match="gcloud storage rsync -r gs://bucket/videos"):
            make_source("csv", split="train", **given)


def test_a_split_of_data_without_splits_is_refused(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4")
    with_splits, without = tmp_path / "with.csv", tmp_path / "without.csv"
    with_splits.write_text("path,split\na.mp4,train\nb.mp4,test\n")
    without.write_text("path\na.mp4\nb.mp4\n")

    def count(kind, path, split):
        data = base_config.pretrain().data
        data.update(source=kind, path=str(path), split=split)
        return len(open_source(data))

    for kind, path in (("folder", tmp_path), ("csv", without)):
        assert (count(kind, path, "train"), count(kind, path, "train[:50%]")) == (2, 1)
        for split in ("test", "test[:50%]"):
            with pytest.raises(ConfigError, match=r"config\.data\.split=test.* has no splits"):
                count(kind, path, split)
    assert count("csv", with_splits, "test") == 1


def write_csv(folder, text):
    file = folder / "list.csv"
    file.write_text(text)
    return str(file)


def test_a_list_gives_its_split_and_the_classes_of_all(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    file = write_csv(
        tmp_path, "path,label,split\na.mp4,wave,train\nb.mp4,jump,test\nc.mp4,wave,test\n"
    )
    source = make_source("csv", file, "test")
    assert source.class_names == ("jump", "wave")
    assert [source[i].label for i in range(len(source))] == [0, 1]
    assert source[1].video == str(tmp_path / "c.mp4") == source.describe(1)


def test_a_list_without_the_split_or_a_video_is_named(tmp_path):
    file = write_csv(tmp_path, "path,label,split\na.mp4,wave,train\n")
    with pytest.raises(ConfigError, match="no split 'test'; it has train"):
        CsvSource(file, "test")
    with pytest.raises(ConfigError, match=r"1 of the 1 videos .*config\.data\.root"):
        CsvSource(file, "train")


def test_links_are_followed_once_and_not_upwards(tmp_path, caplog):
    root = tmp_path / "set" / "videos"
    touch(root, "walk/a.mp4", "walk/deep/b.mp4", ".store/run/c.mp4")
    touch(tmp_path, "elsewhere/d.mp4", "elsewhere/deep/e.mp4", "set/other.mp4")
    for link, target in {
        "walk/up": root,
        "walk/deep/here": root / "walk" / "deep",
        "above": tmp_path,
        "alias": root / "walk",
        "run": root / ".store" / "run",
        "jump": tmp_path / "elsewhere",
        "jump_again": tmp_path / "elsewhere",
    }.items():
        (root / link).symlink_to(target)
    (tmp_path / "elsewhere" / "deep" / "up").symlink_to(tmp_path / "elsewhere")
    (root / "left").symlink_to(root / "right")
    (root / "right").symlink_to(root / "left")
    paths = sorted(map(str, find_videos(root, "--videos")))
    assert "alias links to a folder that is read" in caplog.text
    assert "above links upwards" in caplog.text
    assert paths == ["jump/d.mp4", "jump/deep/e.mp4", "run/c.mp4", "walk/a.mp4", "walk/deep/b.mp4"]


def test_records_in_place_of_videos_are_named(tmp_path):
    touch(tmp_path, "ssv2/dataset_info.json", "ssv2/ssv2-train.array_record-00000")
    with pytest.raises(ConfigError, match=r"holds prepared records.*--config.data.source=records"):
        FolderSource(str(tmp_path / "ssv2"))


def test_ignored_files_are_counted(tmp_path, caplog):
    touch(tmp_path, "a.3gp", "b.MTS", "c.dat", "d.dat", "e", "f.mxf")
    with caplog.at_level("WARNING", "absl"):
        assert len(FolderSource(str(tmp_path))) == 3
    assert "3 files below" in caplog.text
    assert ".dat (2), none (1)" in caplog.text


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("walk", "Walk"), "'Walk' and 'walk'"),
        (("walk", "walk "), "'walk' and 'walk '"),
        (("caf\u00e9", "cafe\u0301"), r"'cafe\\u0301' and 'caf\\xe9'"),
        (("wal\u200bk", "wal k"), "invisible"),
        (("a\nb", "a\\nb"), "differ"),
        ((" ", "walk"), "blank"),
    ],
)
def test_classes_that_look_alike_are_refused(tmp_path, names, message):
    touch(tmp_path, *(f"{name}/a.mp4" for name in names))
    with pytest.raises(ConfigError, match=message):
        FolderSource(str(tmp_path))
    with pytest.raises(ConfigError, match=message):
        read_dataset("folder", VideoFiles(tmp_path), DatasetOptions())
