import pytest

from mgm_jax.data.records import UNLABELLED
from mgm_jax.data.sources import CsvSource, FolderSource, make_source
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
    with pytest.raises(ConfigError, match="did you mean 'folder'"):
        make_source("folders", str(tmp_path), "train")
    with pytest.raises(ConfigError, match=r"dataset_info\.json.*source=folder"):
        make_source("records", str(tmp_path), "train")
    for given in ({"path": "gs://bucket/videos"}, {"path": ".", "root": "gs://bucket/videos"}):
        with pytest.raises(ConfigError, match="gcloud storage rsync -r gs://bucket/videos"):
            make_source("csv", split="train", **given)


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


def test_a_list_may_number_its_classes_and_start_elsewhere(tmp_path):
    touch(tmp_path, "videos/a.mp4", "videos/b.mp4")
    file = write_csv(tmp_path, "path,label,label_id\na.mp4,wave,0\nb.mp4,jump,1\n")
    source = CsvSource(file, "train", root=str(tmp_path / "videos"))
    assert source.class_names == ("wave", "jump")
    assert source[1].label == 1
    assert source[1].video_id == "b.mp4"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.mp4,wave\n", "has no column 'path'"),
        ("path,label,split\na.mp4,wave,train\n", "no split 'test'; it has train"),
        (
            "path,label,split\ngone.mp4,wave,test\n",
            "1 of the 1 videos .*config.data.root",
        ),
        ("path,label\na.mp4,wave,test\n", "line 2 of .*list.csv"),
        ("path,label,label_id\na.mp4,wave,one\n", "label_id of .*list.csv"),
        ("path,label,label_id\na.mp4,wave,1\n", "not numbered 0 to 0"),
    ],
)
def test_bad_lists_are_named(tmp_path, text, message):
    touch(tmp_path, "a.mp4")
    with pytest.raises(ConfigError, match=message):
        CsvSource(write_csv(tmp_path, text), "test")
