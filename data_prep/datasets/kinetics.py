"""Kinetics-400, and Mini-Kinetics-200, which is a subset of its videos.

Videos are called `YOUTUBEID_START_END.mp4` (seconds, six digits each) or `YOUTUBEID.mp4`, in class
folders or not. Kinetics-400 has one clip per YouTube video, so the id is unique.
"""

import csv
import pathlib
import re

from data_prep.entries import DatasetOptions, Listing
from data_prep.files import AnnotationFiles, VideoFiles, VideoFinder, read_text, stem
from mgm_jax.errors import ConfigError

_WHERE_FROM = (
    "of Kinetics-400: the csv files label,youtube_id,time_start,time_end,split, or lists "
    "VIDEO,LABEL with a label_map.txt"
)
# Names of a split in file and folder names.
_SPLITS = {"train": ("train",), "validation": ("val", "validate", "validation"), "test": ("test",)}
_FILES = ("{}.csv", "kinetics_{}.csv", "kinetics-400_{}.csv", "{}_list.csv")


def youtube_id(path: str) -> str:
    """The YouTube id in the name of a video file, which may end in its start and end."""
    return re.sub(r"_\d{6}_\d{6}$", "", stem(path))


def read_k400(videos: VideoFiles, options: DatasetOptions) -> Listing:
    """Lists the splits of Kinetics-400 whose annotation files are there.

    If these give labels as numbers, `label_map.txt` has a class name per line. Without it, classes
    are numbered in alphabetical order.
    """
    files = AnnotationFiles(options.annotations, _WHERE_FROM)
    rows, class_names = _read_lists(files)
    description = f"Kinetics-400: human actions from YouTube, {len(class_names)} classes."
    finder = VideoFinder(videos, youtube_id)
    return finder.listing("k400", description, class_names, rows, _SPLITS)


def read_minik200(videos: VideoFiles, options: DatasetOptions) -> Listing:
    """Lists Mini-Kinetics-200, 200 classes in alphabetical order.

    Its lists hold only ids; the classes come from the annotation files of Kinetics-400, training
    and validation. A video that is not in these has no class.
    """
    files = AnnotationFiles(
        options.annotations,
        f"of Mini-Kinetics-200 (train_ytid_list.txt, val_ytid_list.txt), and {_WHERE_FROM}",
    )
    lists = {
        "train": read_text(files.get("train_ytid_list.txt")).split(),
        "validation": read_text(files.get("val_ytid_list.txt")).split(),
    }
    class_of = {video: name for _, video, name in _read_lists(files)[0] if name}
    known = {class_of[video] for ids in lists.values() for video in ids if video in class_of}
    class_names = tuple(sorted(known))
    if len(class_names) != 200:
        raise ConfigError(
            f"--annotations: the videos of Mini-Kinetics-200 are of {len(class_names)} classes by "
            f"the files of Kinetics-400 below {files.folder}; put the complete training and "
            "validation files there"
        )
    rows = [
        (split, video, class_of.get(video, "")) for split, ids in lists.items() for video in ids
    ]
    description = "Mini-Kinetics-200: 85,000 videos of 200 classes of Kinetics-400."
    # The split of a video may differ from that in Kinetics-400.
    folders = dict.fromkeys(lists, _SPLITS["train"] + _SPLITS["validation"])
    finder = VideoFinder(videos, youtube_id)
    return finder.listing("minik200", description, class_names, rows, folders)


def _read_lists(files: AnnotationFiles) -> tuple[list[tuple[str, str, str]], tuple[str, ...]]:
    """(split, YouTube id, class name or "") of all lists, and the class names."""
    label_map = files.find("label_map.txt")
    named = tuple(read_text(label_map).rstrip().splitlines()) if label_map else ()
    rows = []
    for split, names in _SPLITS.items():
        path = files.find(*(file.format(name) for file in _FILES for name in names))
        if path is not None:
            rows += [(split, *row) for row in _read_list(path, named)]
    if not rows:
        raise ConfigError(
            "--annotations: there is no train.csv, val.csv, test.csv, train_list.csv, ... below "
            f"{files.folder}; get the annotation files {_WHERE_FROM}"
        )
    return rows, named or tuple(sorted({name for _, _, name in rows if name}))


def _read_list(path: pathlib.Path, named: tuple[str, ...]) -> list[tuple[str, str]]:
    rows = [row for row in csv.reader(read_text(path).splitlines(), skipinitialspace=True) if row]
    header = [name.strip() for name in rows[0]] if rows else []
    if "youtube_id" in header:
        columns = [dict(zip(header, row, strict=False)) for row in rows[1:]]
        return [(row["youtube_id"], row.get("label", "")) for row in columns]
    listed = []
    for number, row in enumerate(rows, 1):
        if len(row) != 2 or not row[1].strip().isdecimal():
            raise ConfigError(f"--annotations: {path}, line {number}: expected VIDEO,LABEL")
        label = int(row[1])
        if label >= len(named):
            raise ConfigError(
                f"--annotations: {path}, line {number}: label {label} has no name in the "
                f"{len(named)} lines of label_map.txt; get the complete label_map.txt"
            )
        listed.append((youtube_id(row[0]), named[label]))
    return listed
