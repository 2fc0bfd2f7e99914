"""Every dataset: its official lists, and videos laid out as they are downloaded.

A listing finds files by their names, so most files here are empty.
"""

import collections
import json
import shutil

import pytest

from data_prep import datasets
from data_prep.datasets import DATASETS, read_dataset
from data_prep.datasets.kinetics import youtube_id
from data_prep.entries import (
    MISSING,
    NO_CLASS,
    SEVERAL_FILES,
    DatasetOptions,
    annotation_problems,
)
from mgm_jax.errors import ConfigError


def read(dataset, videos, annotations=None, **options):
    folder = None if annotations is None else str(annotations)
    return read_dataset(dataset, videos, DatasetOptions(folder, **options))


def by_id(listing):
    return {entry.video_id: entry for entry in listing.entries}


def counts(listing):
    return dict(collections.Counter(entry.split for entry in listing.entries))


def found(listing):
    return {entry.video_id: entry.file for entry in listing.entries if entry.file}


def ssv2_annotations(annotations, folder):
    """The published files, and a training list of their form."""
    shutil.copytree(annotations / "ssv2", folder)
    rows = [
        {"id": "78687", "label": "?", "template": "Holding [something] next to [something]"},
        {"id": "42326", "label": "?", "template": "Juggling [something]"},
    ]
    (folder / "something-something-v2-train.json").write_text(json.dumps(rows))
    return folder


CLIMBING = "(HQ)_Rock_Climbing_-_Free_Solo_Speed_Climb_-_Dan_Osman_climb_f_cm_np1_le_med_2"
# Dataset: number of classes, videos of each split, and the classes of some files.
OFFICIAL = {
    "ssv2": (
        174,
        {"train": 2, "validation": 24777},
        {
            "20bn-something-something-v2/78687.webm": "Holding something next to something",
            "74225.webm": "Spinning something that quickly stops spinning",
        },
    ),
    "k400": (
        400,
        {"validation": 19787},
        {
            "val/butterfly/0wR5jVB-WPk_000417_000427.mp4": "swimming butterfly stroke",
            "compress/val_256/--nQbRBEz2s.mp4": "hugging",
        },
    ),
    "ucf101": (
        101,
        {"train": 9537, "test": 3783},
        {
            "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi": "ApplyEyeMakeup",
            "UCF-101/v_YoYo_g01_c01.avi": "YoYo",
        },
    ),
    "hmdb51": (
        51,
        {"train": 3570, "test": 1530},
        {
            f"hmdb51_org/climb/{CLIMBING}.avi": "climb",
            "April_09_brush_hair_u_nm_np1_ba_goo_0.avi": "brush_hair",
        },
    ),
    "diving48": (
        48,
        {"train": 15027, "test": 1970},
        {"rgb/8qRmKunCjtY_00016.mp4": "Back 15som 05Twis FREE"},
    ),
}


@pytest.mark.parametrize("dataset", OFFICIAL)
def test_official_lists(annotations, lay_out, tmp_path, dataset):
    num_classes, splits, files = OFFICIAL[dataset]
    folder = annotations / dataset
    if dataset == "ssv2":
        folder = ssv2_annotations(annotations, tmp_path / "ssv2")
    listing = read(dataset, lay_out(*files, "other/unlisted.mp4"), folder)
    assert counts(listing) == splits
    assert len(listing.class_names) == num_classes
    assert {e.label for e in listing.entries} <= {-1, *range(num_classes)}
    assert files == {e.file: listing.class_names[e.label] for e in listing.entries if e.file}


def test_labels_have_the_published_numbers(annotations, lay_out, tmp_path):
    videos = lay_out("42326.webm")
    folder = ssv2_annotations(annotations, tmp_path / "ssv2")
    listing = read("ssv2", videos, folder)
    labels = json.loads((folder / "something-something-v2-labels.json").read_text())
    assert all(int(number) == listing.class_names.index(name) for name, number in labels.items())
    assert by_id(listing)["42326"].label == -1  # Of no known template.
    for file in list(folder.iterdir()):
        file.rename(folder / file.name.removeprefix("something-something-v2-"))
    assert read("ssv2", videos, folder) == listing  # The later names of the files.
    entries = by_id(read("ucf101", videos, annotations / "ucf101"))
    for line in (annotations / "ucf101/trainlist01.txt").read_text().splitlines():
        path, number = line.split()
        assert entries[path.split("/")[1].removesuffix(".avi")].label == int(number) - 1
    with pytest.raises(ConfigError, match=r"trainlist02\.txt"):
        read("ucf101", videos, annotations / "ucf101", split_number=2)


@pytest.fixture
def few_classes(monkeypatch):
    """Miniatures of data sets have fewer."""
    monkeypatch.setattr(datasets, "NUM_CLASSES", {})


@pytest.mark.usefixtures("few_classes")
def test_k400_by_the_official_csv_files(lay_out, tmp_path):
    header = "label,youtube_id,time_start,time_end,split\n"
    lists = {
        "train": f"{header}testifying,---QUuC4vJs,84,94,train\nabseiling,--3ouPhoy2A,20,30,train\n",
        "val": f"{header}abseiling,0wR5jVB-WPk,417,427,val\n",
        "test": "youtube_id,time_start,time_end,split\n--4-0ihtnBU,58,68,test\n",
    }
    for name, text in lists.items():
        (tmp_path / f"{name}.csv").write_text(text, encoding="utf-8-sig")
    files = (
        "train/---QUuC4vJs_000084_000094.mp4",
        "val/abseiling/0wR5jVB-WPk_000417_000427.mp4",
        "test/--4-0ihtnBU_000058_000068.mp4",
    )
    listing = read("k400", lay_out("other/---QUuC4vJs_000084_000094.mp4", *files), tmp_path)
    assert listing.class_names == ("abseiling", "testifying")
    described = [(e.split, e.video_id, e.label, e.file) for e in listing.entries]
    assert described == [
        ("train", "---QUuC4vJs", 1, files[0]),
        ("train", "--3ouPhoy2A", 0, None),
        ("validation", "0wR5jVB-WPk", 0, files[1]),
        ("test", "--4-0ihtnBU", -1, files[2]),
    ]
    assert youtube_id("val/-_dashes_-x_000001_000011.mp4") == "-_dashes_-x"
    kinds = [[problem.kind for problem in annotation_problems(entry)] for entry in listing.entries]
    assert kinds == [[SEVERAL_FILES], [MISSING], [], [NO_CLASS]]
    good = "replacement/replacement_for_corrupted_k400/---QUuC4vJs_000084_000094.mp4"
    entry = by_id(read("k400", lay_out(good, *files), tmp_path))["---QUuC4vJs"]
    assert entry.file == good
    assert files[0] in entry.other_files


def test_incomplete_annotation_files_are_refused(annotations, lay_out, tmp_path):
    shutil.copytree(annotations / "hmdb51" / "splits", tmp_path / "hmdb51")
    (tmp_path / "hmdb51" / "brush_hair_test_split1.txt").unlink()
    with pytest.raises(ConfigError, match=r"hmdb51 has 51 classes, .* give 50; get all of them"):
        read("hmdb51", lay_out("a.avi"), tmp_path / "hmdb51")


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
    assert counts(listing) == {"train": 1000, "validation": 5000}
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


@pytest.mark.parametrize(
    ("setting", "splits", "source", "lists"),
    [
        (
            *("ucf14_hmdb7", {"train": 1324, "test": 210}, "ucf101"),
            {"train": "ucf101_train_uh.txt", "test": "hmdb51_test_uh.txt"},
        ),
        (
            *("hmdb14_ucf7", {"train": 980, "test": 266}, "hmdb51"),
            {"train": "hmdb51_train_hu.txt", "test": "ucf101_test_hu.txt"},
        ),
    ],
)
def test_partial_domain_adaptation(annotations, lay_out, setting, splits, source, lists):
    file = "UCF-101/Archery/v_Archery_g08_c01.avi"
    listing = read(setting, lay_out(file), annotations)
    assert counts(listing) == splits
    assert len(listing.class_names) == 14
    # The published lists are those of split 1 restricted to the classes.
    for split, name in lists.items():
        rows = (annotations / "partial_da" / name).read_text().splitlines()
        published = {tuple(row.removesuffix(".avi").split("\t")[1:]) for row in rows}
        published = {(int(label), *path.split("/")) for label, path in published}
        ours = [entry for entry in listing.entries if entry.split == split]
        named = {(entry.label, entry.video_id.split("/")[1]) for entry in ours}
        assert named == {(label, video) for label, _, video in published}
        assert {entry.label for entry in ours} == set(range(14 if split == "train" else 7))
        if split == "train":
            assert {(n, name) for n, name, _ in published} == set(enumerate(listing.class_names))
        assert all(e.video_id.startswith(f"{source}/") == (split == "train") for e in ours)
    assert found(listing) == ({"ucf101/v_Archery_g08_c01": file} if source == "ucf101" else {})


@pytest.mark.usefixtures("few_classes")
def test_files_of_equal_names_are_reported(lay_out, tmp_path):
    (tmp_path / "classInd.txt").write_text("1 ApplyEyeMakeup\r\n")
    (tmp_path / "trainlist01.txt").write_text("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\n")
    (tmp_path / "testlist01.txt").write_text("\r\n")
    name = "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi"
    videos = lay_out(f"one/{name}", f"two/{name}", "three/v_ApplyEyeMakeup_g08_c01.avi")
    entry = by_id(read("ucf101", videos, tmp_path))["v_ApplyEyeMakeup_g08_c01"]
    others = (f"two/{name}", "three/v_ApplyEyeMakeup_g08_c01.avi")
    assert (entry.file, set(entry.other_files)) == (f"one/{name}", set(others))
    (problem,) = annotation_problems(entry)
    assert problem.kind == SEVERAL_FILES
    assert f"two/{name}" in problem.reason


_NUMBER_AS_NAME = '[{"id": 1, "template": "a"}]'


def _diving48(label):
    video = f'[{{"vid_name": "a", "label": {label}}}]'
    classes = json.dumps([[str(number)] for number in range(48)])
    return {"Diving48_vocab": classes, "Diving48_V2_train": video, "Diving48_V2_test": "[]"}


@pytest.mark.parametrize(
    ("dataset", "files"),
    [
        ("ssv2", dict.fromkeys(("labels", "train", "validation"), "<html>")),
        ("ssv2", {"labels": "{}", "train": '[{"id": "1"}]', "validation": "[]"}),
        ("ssv2", {"labels": "[]", "train": "[]", "validation": "[]"}),
        ("ssv2", {"labels": '{"a": "1"}', "train": "[]", "validation": "[]"}),
        ("ssv2", {"labels": '{"a": "0"}', "train": "[]", "validation": _NUMBER_AS_NAME}),
        ("diving48", _diving48('"0"')),
        ("diving48", _diving48("48")),
        ("ucf101", {"classInd.txt": "version https://git-lfs.github.com/spec/v1"}),
        ("hmdb51", {"wave_test_split1.txt": "a.avi\n"}),
    ],
)
def test_damaged_annotation_files_are_named(lay_out, tmp_path, dataset, files):
    folder = tmp_path / "annotations"
    folder.mkdir()
    for name, text in files.items():
        suffix = "" if "." in name else ".json"
        (folder / f"{name}{suffix}").write_text(text)
    for name in ("trainlist01.txt", "testlist01.txt") if dataset == "ucf101" else ():
        (folder / name).touch()
    with pytest.raises(ConfigError, match=rf"annotations is not as {dataset} publishes it"):
        read(dataset, lay_out("a.avi"), folder)


def test_unknown_datasets_and_absent_annotations_are_named(lay_out, tmp_path):
    videos = lay_out("a.mp4")
    with pytest.raises(ConfigError, match=r"'ucf11' is not one of ssv2, .*ucf101"):
        read("ucf11", videos)
    for dataset in set(DATASETS) - {"folder"}:
        with pytest.raises(ConfigError, match="--annotations: "):
            read(dataset, videos)
    for dataset in set(DATASETS) - {"folder", "csv"}:
        with pytest.raises(ConfigError, match="nowhere"):
            read(dataset, videos, tmp_path / "nowhere")
        with pytest.raises(ConfigError, match=r"--annotations: .*videos"):
            read(dataset, videos, tmp_path / "videos")


def test_flags_without_effect_are_refused(lay_out, tmp_path):
    videos = lay_out("a/1.mp4")
    with pytest.raises(ConfigError, match=r"--annotations=labels\.csv has no effect"):
        read("folder", videos, "labels.csv")
    options = DatasetOptions(str(tmp_path), split_number=2)
    with pytest.raises(ConfigError, match="--split_number=2 has no effect with --dataset=ucf14"):
        read_dataset("ucf14_hmdb7", videos, options)
