"""UCF101: `v_CLASS_gNN_cNN.avi`, in class folders or not."""

from data_prep.entries import DatasetOptions, Listing
from data_prep.files import AnnotationFiles, VideoFiles, VideoFinder, read_text, stem

WHERE_FROM = "of UCF101's action recognition task: classInd.txt, trainlist0N.txt, testlist0N.txt"


def read(videos: VideoFiles, options: DatasetOptions) -> Listing:
    """Lists an official split; label 0 is number 1 of `classInd.txt`."""
    files = AnnotationFiles(options.annotations, WHERE_FROM)
    numbers = [line.split() for line in read_text(files.get("classInd.txt")).splitlines()]
    class_names = tuple(
        name for _, name in sorted((int(n), name) for n, name in filter(None, numbers))
    )
    description = f"UCF101, split {options.split_number}: human actions from YouTube, 101 classes."
    rows = list_videos(files, options.split_number)
    return VideoFinder(videos).listing("ucf101", description, class_names, rows)


def list_videos(files: AnnotationFiles, split_number: int) -> list[tuple[str, str, str]]:
    """(split, video name, class name) of an official split, in the order of the lists."""
    listed = []
    for split in ("train", "test"):
        for line in read_text(files.get(f"{split}list{split_number:02d}.txt")).splitlines():
            if line.strip():
                path = line.split()[0]  # Training lists have the class number after the path.
                listed.append((split, stem(path), path.split("/")[0]))
    return listed
