"""Diving48, version 2 of its labels: `NAME.mp4` in one folder, 48 kinds of dives."""

import json

from data_prep.entries import DatasetOptions, Listing
from data_prep.files import AnnotationFiles, VideoFiles, VideoFinder, read_text


def read(videos: VideoFiles, options: DatasetOptions) -> Listing:
    """Lists the training and the test split; a class is named like "Back 15som 05Twis FREE".

    The annotated range of frames is ignored: it is the whole file for all 16,997 videos.
    """
    files = AnnotationFiles(
        options.annotations, "of Diving48, version 2: Diving48_V2_train.json, ..."
    )
    vocabulary = json.loads(read_text(files.get("Diving48_vocab.json")))
    finder = VideoFinder(videos)
    return Listing(
        "diving48",
        tuple(" ".join(parts) for parts in vocabulary),
        tuple(
            finder.entry(row["vid_name"], split, row["label"])
            for split in ("train", "test")
            for row in json.loads(read_text(files.get(f"Diving48_V2_{split}.json")))
        ),
        "Diving48 V2: competitive diving, 48 kinds of dives.",
    )
