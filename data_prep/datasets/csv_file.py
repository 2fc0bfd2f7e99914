"""Any set of videos, listed in a csv file."""

import os
import pathlib
import re

from data_prep.entries import DatasetOptions, Entry, Listing
from data_prep.files import VideoFiles
from mgm_jax.data.csv_lists import read_list
from mgm_jax.data.sources import existing
from mgm_jax.errors import ConfigError, printable


def read(videos: VideoFiles, options: DatasetOptions) -> Listing:
    """Lists the videos of a csv file, as training reads it (`mgm_jax.data.csv_lists.read_list`).

    Paths are relative to the video folder, and are the ids. Files of any suffix can be listed.
    """
    if options.annotations is None:
        raise ConfigError(
            "--annotations: name the csv file, with the column path and optionally label, label_id "
            "and split"
        )
    listed, class_names = read_list(options.annotations, "--annotations")
    entries = []
    for video in listed:
        file = existing(videos.folder, video.path)
        if file:
            file = os.path.relpath(os.path.join(videos.folder, file), videos.folder)
        split = video.split or "train"
        entries.append(Entry(video.path, split, video.label, file, group=video.group))
    path = pathlib.Path(options.annotations)
    name = re.sub(r"[^a-z0-9_]+", "_", path.stem.lower()).lstrip("0123456789_") or "videos"
    return Listing(name, class_names, tuple(entries), f"The videos of {printable(path.name)}.")
