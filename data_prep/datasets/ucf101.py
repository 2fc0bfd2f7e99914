"""UCF101: `v_CLASS_gNN_cNN.avi`, in class folders or not."""

import os

from data_prep.entries import Entry, Listing
from data_prep.files import AnnotationFiles, VideoFiles, VideoFinder, stem

WHERE_FROM = "of UCF101's action recognition task: classInd.txt, trainlist0N.txt, testlist0N.txt"


def read(videos: VideoFiles, annotations: str | os.PathLike | None, split_number: int) -> Listing:
    """Lists an official split.

    Args:
        videos: The videos.
        annotations: Folder with `classInd.txt` and the lists.
        split_number: Of the official splits, 1 to 3.

    Returns:
        The listing; label 0 is the class that `classInd.txt` gives the number 1.

    Raises:
        ConfigError: An annotation file is missing.
    """
    files = AnnotationFiles(annotations, WHERE_FROM)
    numbers = [line.split() for line in files.get("classInd.txt").read_text().splitlines()]
    class_names = tuple(
        name for _, name in sorted((int(n), name) for n, name in filter(None, numbers))
    )
    label_of = {name: label for label, name in enumerate(class_names)}
    finder = VideoFinder(videos)
    entries = []
    for split, path in list_videos(files, split_number):
        class_name = path.split("/")[0]
        file, others = finder.find(stem(path), (class_name,))
        entries.append(Entry(stem(path), split, label_of[class_name], file, other_files=others))
    return Listing(
        "ucf101",
        class_names,
        tuple(entries),
        f"UCF101, split {split_number}: human actions from YouTube, 101 classes.",
    )


def list_videos(files: AnnotationFiles, split_number: int) -> list[tuple[str, str]]:
    """The videos of an official split.

    Args:
        files: The annotation files.
        split_number: Of the official splits, 1 to 3.

    Returns:
        (split, CLASS/VIDEO.avi) in the order of the lists.
    """
    listed = []
    for split in ("train", "test"):
        lines = files.get(f"{split}list{split_number:02d}.txt").read_text().splitlines()
        # Training lists repeat the class number after the path.
        listed += [(split, line.split()[0]) for line in lines if line.strip()]
    return listed
