"""One module per dataset: reads its annotation files and finds its videos, as a `Listing`."""

import csv
import dataclasses
import functools
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
from data_prep.entries import UNLABELLED, DatasetOptions, Entry, Listing
from data_prep.files import VideoFiles
from mgm_jax.data.class_names import name_classes
from mgm_jax.errors import ConfigError, printable

DATASETS: dict[str, Callable[[VideoFiles, DatasetOptions], Listing]] = {
    "ssv2": ssv2.read,
    "k400": kinetics.read_k400,
    "minik200": kinetics.read_minik200,
    "ucf101": ucf101.read,
    "hmdb51": hmdb51.read,
    "diving48": diving48.read,
    "ava": ava.read,
    "ucf14_hmdb7": functools.partial(partial_da.read, "ucf14_hmdb7"),
    "hmdb14_ucf7": functools.partial(partial_da.read, "hmdb14_ucf7"),
    "folder": folder.read,
    "csv": csv_file.read,
}


NUM_CLASSES = {"ssv2": 174, "k400": 400, "ucf101": 101, "hmdb51": 51, "diving48": 48}
"""Of the published data sets; the others check theirs, or have any number."""


def read_dataset(dataset: str, videos: VideoFiles, options: DatasetOptions) -> Listing:
    """Lists a dataset, a key of `DATASETS`; missing videos are entries without a file.

    Raises:
        ConfigError: Unknown dataset, missing annotation files, or contradictory annotations.
    """
    if dataset not in DATASETS:
        raise ConfigError(f"--dataset: {dataset!r} is not one of {', '.join(DATASETS)}")
    for flag, value, default, heeded in (
        ("split_number", options.split_number, 1, dataset in ("ucf101", "hmdb51")),
        ("annotations", options.annotations, None, dataset != "folder"),
    ):
        if value != default and not heeded:
            raise ConfigError(f"--{flag}={value} has no effect with --dataset={dataset}")
    try:
        listing = DATASETS[dataset](videos, options)
        for entry in listing.entries:
            _check_entry(entry, len(listing.class_names))
    except ConfigError:
        raise
    except (AttributeError, ValueError, LookupError, TypeError, csv.Error) as error:
        raise ConfigError(
            f"--annotations: a file of {options.annotations} is not as {dataset} publishes it "
            f"({type(error).__name__}: {error}); it may be damaged, or of another set: get it again"
        ) from error
    expected = NUM_CLASSES.get(dataset, len(listing.class_names))
    if len(listing.class_names) != expected:
        raise ConfigError(
            f"--annotations: {dataset} has {expected} classes, and the annotation files below "
            f"{options.annotations} give {len(listing.class_names)}; get all of them, and no others"
        )
    names = name_classes(listing.class_names, f"--annotations, --videos: {dataset}")
    if len(names) < len(listing.class_names):
        raise ConfigError(f"--annotations: {dataset} names two classes alike; correct one of them")
    listing = dataclasses.replace(
        listing,
        name=options.name or listing.name,
        class_names=tuple(names[name] for name in listing.class_names),
        entries=tuple(
            dataclasses.replace(entry, video_id=printable(entry.video_id))
            for entry in listing.entries
        ),
    )
    seen: set[str] = set()
    for entry in listing.entries:
        if entry.video_id in seen:
            raise ConfigError(
                f"--annotations: {dataset} lists {entry.video_id!r} twice; remove one of the two"
            )
        seen.add(entry.video_id)
    return listing


def _check_entry(entry: Entry, num_classes: int) -> None:
    if not isinstance(entry.video_id, str):
        raise ValueError(f"the name {entry.video_id!r} of a video is no text")
    if type(entry.label) is not int or not UNLABELLED <= entry.label < num_classes:
        raise ValueError(
            f"{entry.video_id} has the label {entry.label!r}; classes are numbered 0 to "
            f"{num_classes - 1}"
        )
