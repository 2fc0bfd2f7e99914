"""One module per dataset: from its annotation files and its videos to a `Listing`."""

import dataclasses
import difflib
from collections.abc import Callable

from data_prep.datasets import (
    ava,
    csv_file,
    diving48,
    folder,
    hmdb51,
    kinetics,
    partial_da,
    ssv2,
    ucf101,
)
from data_prep.entries import Listing
from data_prep.files import VideoFiles
from mgm_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Choices:
    """What the command line says about a dataset.

    Attributes:
        annotations: Folder of the annotation files, or the csv file.
        split_number: Which of the official splits of UCF101 and HMDB51, 1 to 3.
        name: Instead of the dataset's own.
    """

    annotations: str | None = None
    split_number: int = 1
    name: str | None = None


_Reader = Callable[[VideoFiles, Choices], Listing]

DATASETS: dict[str, _Reader] = {
    "ssv2": lambda videos, choices: ssv2.read(videos, choices.annotations),
    "k400": lambda videos, choices: kinetics.read_k400(videos, choices.annotations),
    "minik200": lambda videos, choices: kinetics.read_minik200(videos, choices.annotations),
    "ucf101": lambda videos, choices: ucf101.read(
        videos, choices.annotations, choices.split_number
    ),
    "hmdb51": lambda videos, choices: hmdb51.read(
        videos, choices.annotations, choices.split_number
    ),
    "diving48": lambda videos, choices: diving48.read(videos, choices.annotations),
    "ava": lambda videos, choices: ava.read(videos, choices.annotations),
    "ucf14_hmdb7": lambda videos, choices: partial_da.read(
        videos, choices.annotations, "ucf14_hmdb7"
    ),
    "hmdb14_ucf7": lambda videos, choices: partial_da.read(
        videos, choices.annotations, "hmdb14_ucf7"
    ),
    "folder": lambda videos, choices: folder.read(videos),
    "csv": lambda videos, choices: csv_file.read(videos, choices.annotations),
}


def read_dataset(dataset: str, videos: VideoFiles, choices: Choices) -> Listing:
    """Lists a dataset.

    Args:
        dataset: One of `DATASETS`.
        videos: The downloaded videos.
        choices: What the command line says.

    Returns:
        The listing. Videos that are not there are in it, without a file.

    Raises:
        ConfigError: Unknown dataset, no annotation file, annotations that contradict themselves.
    """
    if dataset not in DATASETS:
        near = difflib.get_close_matches(dataset, DATASETS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"--dataset: {dataset!r} is not one of {', '.join(DATASETS)}{hint}")
    listing = DATASETS[dataset](videos, choices)
    if choices.name:
        listing = dataclasses.replace(listing, name=choices.name)
    seen: set[str] = set()
    for entry in listing.entries:
        if entry.video_id in seen:
            raise ConfigError(
                f"--annotations: {dataset} lists {entry.video_id!r} twice; a video can be in one "
                "split, once: take one of them out"
            )
        seen.add(entry.video_id)
    return listing
