"""Any videos in class folders, optionally below split folders."""

from data_prep.entries import UNLABELLED, DatasetOptions, Entry, Listing
from data_prep.files import VideoFiles
from mgm_jax.data.class_names import name_classes, splits_among
from mgm_jax.errors import ConfigError


def read(videos: VideoFiles, options: DatasetOptions) -> Listing:
    """Lists all videos; the id is the path, and classes are numbered in alphabetical order.

    If every top-level folder is named like a split (`train`, `val`, `test`, ...), these are the
    splits and the next level is the class. Otherwise every video is in the split `train` and the
    top level is the class. A video outside of class folders has no class.

    Raises:
        ConfigError: Folders of several splits are beside others.
    """
    top = {path.split("/")[0] for path in videos.paths if "/" in path}
    splits = splits_among(top)
    has_splits = bool(top) and top == splits.keys()
    if not has_splits and len(set(splits.values())) > 1:
        raise ConfigError(
            f"--videos: {', '.join(sorted(splits))} are splits, and "
            f"{', '.join(sorted(top - splits.keys())[:3])} are beside them; move them, or give one "
            "of the folders"
        )
    placed = []
    for path in videos.paths:
        folders = path.split("/")[:-1]
        split = splits[folders.pop(0)] if has_splits and folders else "train"
        placed.append((path, split, folders[0] if folders else None))
    names = name_classes({name for _, _, name in placed if name is not None}, "--videos")
    class_names = tuple(sorted(names.values()))
    label_of = {name: class_names.index(names[name]) for name in names} | {None: UNLABELLED}
    return Listing(
        "videos",
        class_names,
        tuple(Entry(path, split, label_of[name], path) for path, split, name in placed),
        f"Videos of a folder, {len(class_names)} classes.",
    )
