"""Any folder of class folders of videos, below folders of splits or not."""

from data_prep.entries import Entry, Listing
from data_prep.files import VideoFiles
from data_prep.records import UNLABELLED

_SPLIT_OF_FOLDER = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


def read(videos: VideoFiles) -> Listing:
    """Lists all videos; the id is the path.

    Where every folder of the first level is called as a split is (`train`, `val`, `test`, ...),
    these are the splits and the next level names the class. Else all is `train` and the first
    level names the class.

    Args:
        videos: The videos.

    Returns:
        The listing; labels are the class names in alphabetical order. A video that is in no class
        folder has no class.
    """
    top = {path.split("/")[0] for path in videos.paths if "/" in path}
    has_splits = bool(top) and top <= _SPLIT_OF_FOLDER.keys()
    placed = []
    for path in videos.paths:
        folders = path.split("/")[:-1]
        split = _SPLIT_OF_FOLDER[folders.pop(0)] if has_splits and folders else "train"
        placed.append((path, split, folders[0] if folders else None))
    class_names = tuple(sorted({name for _, _, name in placed if name is not None}))
    label_of = {name: label for label, name in enumerate(class_names)} | {None: UNLABELLED}
    return Listing(
        "videos",
        class_names,
        tuple(Entry(path, split, label_of[name], path) for path, split, name in placed),
        f"Videos of a folder, {len(class_names)} classes.",
    )
