"""HMDB51: `.avi` files in class folders, three official splits."""

from data_prep.entries import DatasetOptions, Listing
from data_prep.files import AnnotationFiles, VideoFiles, VideoFinder, read_text, stem

WHERE_FROM = "of HMDB51's test_train_splits.rar: CLASS_test_splitN.txt"
_SPLITS = {"1": "train", "2": "test"}


def read(videos: VideoFiles, options: DatasetOptions) -> Listing:
    """Lists an official split: 70 training and 30 test videos per class."""
    files = AnnotationFiles(options.annotations, WHERE_FROM)
    rows = list_videos(files, options.split_number)
    class_names = tuple(sorted({class_name for *_, class_name in rows}))
    description = f"HMDB51, split {options.split_number}: human actions from films, 51 classes."
    return VideoFinder(videos).listing("hmdb51", description, class_names, rows)


def list_videos(files: AnnotationFiles, split_number: int) -> list[tuple[str, str, str]]:
    """(split, video name, class name) of an official split, without unused videos (mark 0)."""
    ending = f"_test_split{split_number}.txt"
    listed = []
    for path in files.all(f"*{ending}"):
        class_name = path.name.removesuffix(ending)
        for line in read_text(path).splitlines():
            if line.strip():
                name, mark = line.rsplit(maxsplit=1)
                if mark in _SPLITS:
                    listed.append((_SPLITS[mark], stem(name), class_name))
    return listed
