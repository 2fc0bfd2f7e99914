"""HMDB51: `.avi` files in class folders, three official splits."""

from data_prep.entries import DatasetOptions, Listing
from data_prep.files import AnnotationFiles, VideoFiles, VideoFinder, read_text, stem

WHERE_FROM = "of HMDB51's test_train_splits.rar: CLASS_test_splitN.txt"
_SPLITS = {"1": "train", "2": "test"}


def read(videos: VideoFiles, options: DatasetOptions) -> Listing:
    """Lists an official split: 70 training and 30 test videos per class."""
    files = AnnotationFiles(options.annotations, WHERE_FROM)
    listed = list_videos(files, options.split_number)
    class_names = tuple(sorted({class_name for _, class_name, _ in listed}))
    label_of = {name: label for label, name in enumerate(class_names)}
    finder = VideoFinder(videos)
    return Listing(
        "hmdb51",
        class_names,
        tuple(
            finder.entry(video, split, label_of[name], folders=(name,))
            for split, name, video in listed
        ),
        f"HMDB51, split {options.split_number}: human actions from films, 51 classes.",
    )


def list_videos(files: AnnotationFiles, split_number: int) -> list[tuple[str, str, str]]:
    """(split, class name, video name) of an official split, without unused videos (mark 0)."""
    ending = f"_test_split{split_number}.txt"
    listed = []
    for path in files.all(f"*{ending}"):
        class_name = path.name.removesuffix(ending)
        for line in read_text(path).splitlines():
            if line.strip():
                name, mark = line.rsplit(maxsplit=1)
                if mark in _SPLITS:
                    listed.append((_SPLITS[mark], class_name, stem(name)))
    return listed
