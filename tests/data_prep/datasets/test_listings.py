"""Every dataset: its official lists, and videos laid out as they are downloaded.

Which file a listing finds is a matter of names, so most files here are empty.
"""

import json
import shutil

import pytest

from data_prep.datasets import DATASETS, read_dataset
from data_prep.datasets.kinetics import youtube_id
from data_prep.entries import (
    MISSING,
    NO_CLASS,
    SEVERAL_FILES,
    DatasetOptions,
    annotation_problems,
)
from data_prep.files import VideoFiles
from mgm_jax.errors import ConfigError


@pytest.fixture
def lay_out(tmp_path):
    """Makes empty files below a folder."""

    def make(*paths):
        for path in paths:
            file = tmp_path / "videos" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        return VideoFiles(tmp_path / "videos")

    return make


def read(dataset, videos, annotations=None, **options):
    folder = None if annotations is None else str(annotations)
    return read_dataset(dataset, videos, DatasetOptions(folder, **options))


def by_id(listing):
    return {entry.video_id: entry for entry in listing.entries}


def count(listing, split):
    return sum(entry.split == split for entry in listing.entries)


def found(listing):
    return {entry.video_id: entry.file for entry in listing.entries if entry.file}


def ssv2_annotations(annotations, folder):
    """The published files, and a training list of their form."""
    shutil.copytree(annotations / "ssv2", folder)
    rows = [
        {
            "id": "78687",
            "label": "holding potato next to vicks vaporub bottle",
            "template": "Holding [something] next to [something]",
            "placeholders": ["potato", "vicks vaporub bottle"],
        },
        {"id": "42326", "label": "?", "template": "Juggling [something]", "placeholders": ["?"]},
    ]
    (folder / "something-something-v2-train.json").write_text(json.dumps(rows))
    return folder


def test_ssv2(annotations, lay_out, tmp_path):
    videos = lay_out(
        "20bn-something-something-v2/74225.webm", "20bn-something-something-v2/78687.webm"
    )
    listing = read("ssv2", videos, ssv2_annotations(annotations, tmp_path / "ssv2"))
    assert (len(listing.class_names), count(listing, "validation")) == (174, 24777)
    assert found(listing) == {
        "74225": "20bn-something-something-v2/74225.webm",
        "78687": "20bn-something-something-v2/78687.webm",
    }
    entries = by_id(listing)
    assert entries["78687"].split == "train"
    names = listing.class_names
    assert names[entries["78687"].label] == "Holding something next to something"
    assert names[entries["74225"].label] == "Spinning something that quickly stops spinning"
    # The published numbers are the labels.
    labels = json.loads((annotations / "ssv2/something-something-v2-labels.json").read_text())
    assert all(int(number) == names.index(name) for name, number in labels.items())
    assert {entry.label for entry in listing.entries} == {-1, *range(174)}
    assert entries["42326"].label == -1


def test_ssv2_under_the_later_names(annotations, lay_out, tmp_path):
    folder = ssv2_annotations(annotations, tmp_path / "ssv2")
    for file in list(folder.iterdir()):
        file.rename(folder / file.name.removeprefix("something-something-v2-"))
    rows = json.loads((folder / "validation.json").read_text())
    (folder / "validation.json").write_text(json.dumps(rows[:5]))
    assert len(read("ssv2", lay_out("74225.webm"), folder).entries) == 7


def test_k400_by_lists_of_numbers(annotations, lay_out):
    videos = lay_out(
        "val/stretching arm/0wR5jVB-WPk_000417_000427.mp4",  # class folders
        "compress/val_256/3caPS4FHFF8.mp4",  # flat
        "val/-_dashes_-x_000001_000011.mp4",
    )
    listing = read("k400", videos, annotations / "k400")
    assert (len(listing.class_names), len(listing.entries)) == (400, 19787)
    assert {entry.split for entry in listing.entries} == {"validation"}
    assert found(listing) == {
        "0wR5jVB-WPk": "val/stretching arm/0wR5jVB-WPk_000417_000427.mp4",
        "3caPS4FHFF8": "compress/val_256/3caPS4FHFF8.mp4",
    }
    assert by_id(listing)["0wR5jVB-WPk"].label == 341
    assert youtube_id("val/-_dashes_-x_000001_000011.mp4") == "-_dashes_-x"


def test_k400_by_the_official_csv_files(lay_out, tmp_path):
    folder = tmp_path / "annotations"
    folder.mkdir()
    header = "label,youtube_id,time_start,time_end,split\n"
    (folder / "train.csv").write_text(
        f'{header}"testifying",---QUuC4vJs,84,94,train\nabseiling,--3ouPhoy2A,20,30,train\n'
    )
    (folder / "val.csv").write_text(f"{header}abseiling,0wR5jVB-WPk,417,427,val\n")
    (folder / "test.csv").write_text(
        "youtube_id,time_start,time_end,split\n--4-0ihtnBU,58,68,test\n"
    )
    videos = lay_out(
        "train/---QUuC4vJs_000084_000094.mp4",
        "replacement/---QUuC4vJs_000084_000094.mp4",
        "val/abseiling/0wR5jVB-WPk_000417_000427.mp4",
        "test/--4-0ihtnBU_000058_000068.mp4",
    )
    listing = read("k400", videos, folder)
    assert listing.class_names == ("abseiling", "testifying")
    described = [(e.split, e.video_id, e.label, e.file) for e in listing.entries]
    assert described == [
        ("train", "---QUuC4vJs", 1, "train/---QUuC4vJs_000084_000094.mp4"),
        ("train", "--3ouPhoy2A", 0, None),
        ("validation", "0wR5jVB-WPk", 0, "val/abseiling/0wR5jVB-WPk_000417_000427.mp4"),
        ("test", "--4-0ihtnBU", -1, "test/--4-0ihtnBU_000058_000068.mp4"),
    ]
    kinds = [[problem.kind for problem in annotation_problems(entry)] for entry in listing.entries]
    assert kinds == [[], [MISSING], [], [NO_CLASS]]


def test_k400_without_names_for_its_numbers(annotations, lay_out, tmp_path):
    shutil.copy(annotations / "k400/val_list.csv", tmp_path)
    with pytest.raises(ConfigError, match=r"val_list\.csv, line 1: label 341"):
        read("k400", lay_out("a.mp4"), tmp_path)


def test_minik200(annotations, lay_out, tmp_path):
    lists = tmp_path / "lists"
    shutil.copytree(annotations / "minik200", lists)
    shutil.copytree(annotations / "k400", lists, dirs_exist_ok=True)
    ids = (lists / "train_ytid_list.txt").read_text().split()
    assert len(set(ids)) == 80000
    (lists / "train_ytid_list.txt").write_text("\n".join(ids[:1000]))
    # Validation videos are Kinetics-400's; the training list of Kinetics-400 is not here.
    videos = lay_out("val/zkyy5cC7SL4_000001_000011.mp4", "train/kIRmvrmc2nM_000001_000011.mp4")
    listing = read("minik200", videos, lists)
    assert (count(listing, "train"), count(listing, "validation")) == (1000, 5000)
    assert len(listing.class_names) == 200
    entries = by_id(listing)
    rows = (annotations / "k400/val_list.csv").read_text().split()
    k400_names = (annotations / "k400/label_map.txt").read_text().splitlines()
    of_video = dict(row.rsplit(",", 1) for row in rows)
    right = k400_names[int(of_video["zkyy5cC7SL4.mp4"])]
    assert listing.class_names[entries["zkyy5cC7SL4"].label] == right
    assert entries["kIRmvrmc2nM"].label == -1  # listed, but of unknown class
    assert len(found(listing)) == 2
    assert sum(e.label < 0 for e in listing.entries if e.split == "validation") == 12


def test_minik200_needs_the_lists_of_kinetics_400(annotations, lay_out, tmp_path):
    shutil.copytree(annotations / "minik200", tmp_path / "lists")
    (tmp_path / "lists/val.csv").write_text("label,youtube_id\nabseiling,zkyy5cC7SL4\n")
    with pytest.raises(ConfigError, match="1 classes"):
        read("minik200", lay_out("a.mp4"), tmp_path / "lists")


def test_ucf101(annotations, lay_out):
    videos = lay_out(
        "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi",  # class folders
        "UCF-101/v_ApplyEyeMakeup_g01_c01.avi",  # flat
    )
    listing = read("ucf101", videos, annotations / "ucf101")
    assert (count(listing, "train"), count(listing, "test")) == (9537, 3783)
    assert len(listing.class_names) == 101
    assert (listing.class_names[0], listing.class_names[100]) == ("ApplyEyeMakeup", "YoYo")
    entries = by_id(listing)
    assert entries["v_ApplyEyeMakeup_g08_c01"].split == "train"
    assert entries["v_ApplyEyeMakeup_g01_c01"].split == "test"
    assert len(found(listing)) == 2
    for line in (annotations / "ucf101/trainlist01.txt").read_text().splitlines():
        path, number = line.split()
        assert entries[path.split("/")[1].removesuffix(".avi")].label == int(number) - 1
    with pytest.raises(ConfigError, match=r"trainlist02\.txt"):
        read("ucf101", videos, annotations / "ucf101", split_number=2)


def test_hmdb51(annotations, lay_out):
    odd = "(HQ)_Rock_Climbing_-_Free_Solo_Speed_Climb_-_Dan_Osman_climb_f_cm_np1_le_med_2"
    videos = lay_out(f"hmdb51_org/climb/{odd}.avi", "April_09_brush_hair_u_nm_np1_ba_goo_0.avi")
    listing = read("hmdb51", videos, annotations / "hmdb51")
    assert (count(listing, "train"), count(listing, "test")) == (3570, 1530)
    assert len(listing.class_names) == 51
    assert listing.class_names == tuple(sorted(listing.class_names))
    assert set(found(listing)) == {odd, "April_09_brush_hair_u_nm_np1_ba_goo_0"}
    assert listing.class_names[by_id(listing)[odd].label] == "climb"


def test_diving48(annotations, lay_out):
    listing = read("diving48", lay_out("rgb/8qRmKunCjtY_00016.mp4"), annotations / "diving48")
    assert (count(listing, "train"), count(listing, "test")) == (15027, 1970)
    assert len(listing.class_names) == 48
    assert listing.class_names[0] == "Back 15som 05Twis FREE"
    assert found(listing) == {"8qRmKunCjtY_00016": "rgb/8qRmKunCjtY_00016.mp4"}
    assert by_id(listing)["8qRmKunCjtY_00016"].split == "test"


@pytest.mark.parametrize(
    ("setting", "train", "test", "source", "lists"),
    [
        ("ucf14_hmdb7", 1324, 210, "ucf101", ("ucf101_train_uh.txt", "hmdb51_test_uh.txt")),
        ("hmdb14_ucf7", 980, 266, "hmdb51", ("hmdb51_train_hu.txt", "ucf101_test_hu.txt")),
    ],
)
def test_partial_domain_adaptation(annotations, lay_out, setting, train, test, source, lists):
    listing = read(setting, lay_out("UCF-101/Archery/v_Archery_g08_c01.avi"), annotations)
    assert (count(listing, "train"), count(listing, "test")) == (train, test)
    assert len(listing.class_names) == 14
    assert len({e.label for e in listing.entries if e.split == "train"}) == 14
    assert {e.label for e in listing.entries if e.split == "test"} == set(range(7))
    # The published lists are those of split 1 restricted to the classes.
    for split, name in zip(("train", "test"), lists, strict=True):
        rows = (annotations / "partial_da" / name).read_text().splitlines()
        published = {tuple(row.split("\t")[1:]) for row in rows}
        ours = {
            (str(e.label), e.video_id.split("/")[1]) for e in listing.entries if e.split == split
        }
        assert {
            (label, path.split("/")[1].removesuffix(".avi")) for label, path in published
        } == ours
        if split == "train":
            names = {(int(label), path.split("/")[0]) for label, path in published}
            assert names == set(enumerate(listing.class_names))
    assert all(e.video_id.startswith(f"{source}/") == (e.split == "train") for e in listing.entries)
    assert found(listing) == (
        {"ucf101/v_Archery_g08_c01": "UCF-101/Archery/v_Archery_g08_c01.avi"}
        if source == "ucf101"
        else {}
    )


def test_folder(lay_out):
    videos = lay_out("b/1.mp4", "b/deep/2.AVI", "a/3.webm", "4.mp4", "a/notes.txt", ".cache/5.mp4")
    listing = read("folder", videos)
    assert listing.class_names == ("a", "b")
    assert [(e.video_id, e.split, e.label) for e in listing.entries] == [
        ("4.mp4", "train", -1),
        ("a/3.webm", "train", 0),
        ("b/1.mp4", "train", 1),
        ("b/deep/2.AVI", "train", 1),
    ]


def test_folder_of_splits(lay_out):
    listing = read("folder", lay_out("train/b/1.mp4", "val/a/2.mp4", "val/3.mp4"), name="mine")
    assert listing.name == "mine"
    assert [(e.split, e.label) for e in listing.entries] == [
        ("train", 1),
        ("validation", -1),
        ("validation", 0),
    ]


def write_csv(tmp_path, text, name="My set-2.csv"):
    file = tmp_path / name
    file.write_text(text)
    return file


def test_csv(lay_out, tmp_path):
    videos = lay_out("x/a b.mp4", "y.mp4")
    file = write_csv(
        tmp_path,
        'path,label,label_id,group,split\n"x/a b.mp4",wave,1,g,train\ny.mp4,clap,0,g,test\n'
        "z.mp4,wave,1,g,test\nw.mp4,,,g,\n",
    )
    listing = read("csv", videos, file)
    assert (listing.name, listing.class_names) == ("my_set_2", ("clap", "wave"))
    assert [(e.video_id, e.split, e.label, e.file) for e in listing.entries] == [
        ("x/a b.mp4", "train", 1, "x/a b.mp4"),
        ("y.mp4", "test", 0, "y.mp4"),
        ("z.mp4", "test", 1, None),
        ("w.mp4", "train", -1, None),
    ]
    plain = read("csv", videos, write_csv(tmp_path, "path,label\nx/a b.mp4,b\ny.mp4,a\n"))
    assert [(e.split, e.label) for e in plain.entries] == [("train", 1), ("train", 0)]
    unlabelled = read("csv", videos, write_csv(tmp_path, "path\ny.mp4\n"))
    assert (unlabelled.class_names, unlabelled.entries[0].label) == ((), -1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na,b\n", "column path"),
        ("path,label\n", "0 rows"),
        ("path,label,label_id\na,x,0\nb,x,1\n", "line 3: class 'x'"),
        ("path,label,label_id\na,x,0\nb,y,0\n", "label_ids of 2 classes"),
        ("path,label,label_id\na,x,1\nb,y,2\n", "label_ids of 2 classes"),
        ("path,split\na,train\na,test\n", "lists 'a' twice"),
    ],
)
def test_invalid_csv_files_are_named(lay_out, tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        read("csv", lay_out("a.mp4"), write_csv(tmp_path, text))


def test_the_real_split_of_jhmdb(real_videos):
    file = real_videos.parent / "splits" / "jhmdb_split1.csv"
    listing = read("csv", VideoFiles(real_videos), file)
    assert (count(listing, "train"), count(listing, "test")) == (660, 268)
    assert len(found(listing)) == 928
    assert len(listing.class_names) == 21


def test_files_of_equal_names_are_reported(lay_out, tmp_path):
    (tmp_path / "classInd.txt").write_text("1 ApplyEyeMakeup\r\n")
    (tmp_path / "trainlist01.txt").write_text("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\n")
    (tmp_path / "testlist01.txt").write_text("\r\n")
    name = "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi"
    videos = lay_out(f"one/{name}", f"two/{name}", "three/v_ApplyEyeMakeup_g08_c01.avi")
    entry = by_id(read("ucf101", videos, tmp_path))["v_ApplyEyeMakeup_g08_c01"]
    assert (entry.file, entry.other_files) == (f"one/{name}", (f"two/{name}",))
    (problem,) = annotation_problems(entry)
    assert problem.kind == SEVERAL_FILES
    assert f"two/{name}" in problem.reason


def test_unknown_datasets_and_absent_annotations_are_named(lay_out, tmp_path):
    videos = lay_out("a.mp4")
    with pytest.raises(ConfigError, match=r"'ucf11'.*'ucf101'"):
        read("ucf11", videos)
    for dataset in set(DATASETS) - {"folder"}:
        with pytest.raises(ConfigError, match="--annotations: "):
            read(dataset, videos)
    for dataset in set(DATASETS) - {"folder", "csv"}:
        with pytest.raises(ConfigError, match="nowhere"):
            read(dataset, videos, tmp_path / "nowhere")
        with pytest.raises(ConfigError, match=r"--annotations: .*videos"):
            read(dataset, videos, tmp_path / "videos")
