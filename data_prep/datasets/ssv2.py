"""Something-Something V2: 174 classes, `ID.webm` in one folder."""

import json
import pathlib
from typing import Any

from data_prep.entries import UNLABELLED, DatasetOptions, Listing
from data_prep.files import AnnotationFiles, VideoFiles, VideoFinder, read_text

_FILES = {
    "train": ("something-something-v2-train.json", "train.json"),
    "validation": ("something-something-v2-validation.json", "validation.json"),
}


def read(videos: VideoFiles, options: DatasetOptions) -> Listing:
    """Lists the training and the validation split; the test split has no public labels.

    A video whose template is not among the labels has no class.
    """
    files = AnnotationFiles(options.annotations, "from the Something-Something V2 download page")
    labels_file = files.get("something-something-v2-labels.json", "labels.json")
    labels = {name: int(label) for name, label in _load(labels_file).items()}
    if sorted(labels.values()) != list(range(len(labels))):
        raise ValueError(f"the classes of {labels_file.name} are not numbered from 0 on")
    finder = VideoFinder(videos)
    entries = []
    for split, names in _FILES.items():
        for row in _load(files.get(*names)):
            # "Pushing [something] off of [something]" is the class without its brackets.
            template = row["template"].replace("[", "").replace("]", "")
            entries.append(finder.entry(row["id"], split, labels.get(template, UNLABELLED)))
    return Listing(
        "ssv2",
        tuple(sorted(labels, key=labels.__getitem__)),
        tuple(entries),
        "Something-Something V2: what hands do with things, 174 classes.",
    )


def _load(path: pathlib.Path) -> Any:
    return json.loads(read_text(path))
