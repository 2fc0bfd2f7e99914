import pytest

from data_prep.datasets import read_dataset
from data_prep.entries import DatasetOptions
from data_prep.files import VideoFiles
from mgm_jax.errors import ConfigError


def read(videos, folder, text):
    (folder / "My set-2.csv").write_text(text)
    return read_dataset("csv", videos, DatasetOptions(str(folder / "My set-2.csv")))


def test_csv(lay_out, tmp_path):
    videos = lay_out("x/a b.mp4", "y.mp4")
    listing = read(
        videos,
        tmp_path,
        'path,label,label_id,group,split\n"x/a b.mp4",wave,1,g,train\ny.mp4,clap,0,g,test\n'
        "z.mp4,wave,1,g,test\nw.mp4,,,g,\n",
    )
    assert (listing.name, listing.class_names) == ("my_set_2", ("clap", "wave"))
    assert [(e.video_id, e.split, e.label, e.file) for e in listing.entries] == [
        ("x/a b.mp4", "train", 1, "x/a b.mp4"),
        ("y.mp4", "test", 0, "y.mp4"),
        ("z.mp4", "test", 1, None),
        ("w.mp4", "train", -1, None),
    ]


def test_a_repeated_path_is_refused(lay_out, tmp_path):
    with pytest.raises(ConfigError, match="lists 'a' twice"):
        read(lay_out("a.mp4"), tmp_path, "path,split\na,train\na,test\n")


def test_the_real_split_of_jhmdb(real_videos):
    file = real_videos.parent / "splits" / "jhmdb_split1.csv"
    listing = read_dataset("csv", VideoFiles(real_videos), DatasetOptions(str(file)))
    assert sum(entry.split == "train" for entry in listing.entries) == 660
    assert sum(entry.file is not None for entry in listing.entries) == 928
    assert len(listing.class_names) == 21
