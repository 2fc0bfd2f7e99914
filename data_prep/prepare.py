"""Makes a dataset of records from downloaded videos and their official annotations.

    python -m data_prep.prepare --dataset=ssv2 --videos=DIR --annotations=DIR --out=DIR

If it is interrupted, the same command resumes it, and the dataset becomes the same, byte for byte.
`docs/data_preparation.md` lists the files that each dataset needs.
"""

import collections
import functools
import os
from collections.abc import Sequence
from typing import Any

from absl import flags, logging

from data_prep import output, records
from data_prep.beam import write_shards_on_beam
from data_prep.conversion import Settings, convert
from data_prep.datasets import DATASETS, read_dataset
from data_prep.entries import DatasetOptions
from data_prep.files import VideoFiles
from data_prep.shards import write_shards
from mgm_jax.errors import ConfigError, printable
from mgm_jax.io import local_path
from mgm_jax.program import run_program


def prepare(
    dataset: str,
    videos: str,
    out: str | os.PathLike,
    *,
    options: DatasetOptions,
    settings: Settings,
    workers: int = 0,
    records_per_shard: int = 1000,
    beam_options: Sequence[str] = (),
) -> dict[str, Any] | None:
    """Makes the dataset `dataset`, a key of `datasets.DATASETS`, in `out`, unless it exists.

    `out` is absent, empty, or left by an interrupted run. Its shards are written by `workers`
    processes, by this one if `workers` is 0, or by an Apache Beam pipeline if it has options.

    Returns:
        The report of `output.build`; None if the dataset existed.

    Raises:
        ConfigError: A flag cannot work, or no video can be read.
    """
    if workers < 0 or records_per_shard < 1:
        raise ConfigError(
            f"--workers={workers} must be at least 0, --records_per_shard={records_per_shard} at "
            "least 1"
        )
    out = local_path(out, "--out")
    files = VideoFiles(videos)
    listing = read_dataset(dataset, files, options)
    records.check_names(listing.name, {entry.split for entry in listing.entries})
    request = {
        "command": "data_prep.prepare",
        "dataset": dataset,
        "name": listing.name,
        "split_number": options.split_number,
        "settings": settings.describe(),
        "records_per_shard": records_per_shard,
    }
    found = collections.Counter(entry.split for entry in listing.entries if entry.file)
    for split, listed in collections.Counter(entry.split for entry in listing.entries).items():
        logging.info("%s: %d of %d listed videos found", split, found[split], listed)
    if not found:
        raise ConfigError(
            f"--videos: none of the {len(listing.entries)} videos that {dataset} lists is below "
            f"{files.folder} (which holds, for instance, {printable(files.paths[0])}); "
            "check the folder"
        )
    return output.build(
        out,
        request,
        listing,
        files.folder,
        functools.partial(convert, settings=settings),
        records_per_shard=records_per_shard,
        write_shards=functools.partial(write_shards_on_beam, options=beam_options)
        if beam_options
        else functools.partial(write_shards, workers=workers),
    )


def default_short_side(dataset: str) -> int:
    """VideoMAE's 320 pixels for Kinetics, from which it crops 320, 280, 240 or 211; else 256."""
    return 320 if dataset in ("k400", "minik200") else 256


def main(_: Sequence[str]) -> None:
    """Makes the dataset that the flags describe."""
    values = flags.FLAGS
    prepare(
        values.dataset,
        values.videos,
        values.out,
        options=DatasetOptions(values.annotations, values.split_number, values.name),
        settings=Settings(
            values.profile,
            default_short_side(values.dataset) if values.short_side is None else values.short_side,
        ),
        workers=values.workers,
        records_per_shard=values.records_per_shard,
        beam_options=[f"--{option}" for option in values.beam_option],
    )


if __name__ == "__main__":
    # Defined here because other commands define flags with the same names.
    flags.DEFINE_string("dataset", None, f"One of {', '.join(DATASETS)}.", required=True)
    flags.DEFINE_string("videos", None, "Folder of the videos, at any depth.", required=True)
    flags.DEFINE_string("annotations", None, "Folder of the annotation files, or the csv file.")
    flags.DEFINE_string("out", None, "Folder of the dataset, absent or empty.", required=True)
    flags.DEFINE_string("name", None, "Name of the dataset in its files, instead of its own.")
    flags.DEFINE_integer("split_number", 1, "Official split of ucf101 and hmdb51.", 1, 3)
    flags.DEFINE_string("profile", "low_delay", "low_delay, or stride_aligned:STRIDE.")
    short_side_help = "Largest short side, pixels, 320 for Kinetics and else 256; 0 keeps the size."
    flags.DEFINE_integer("short_side", None, short_side_help)
    flags.DEFINE_integer("records_per_shard", 1000, "Listed videos per file.")
    flags.DEFINE_integer(
        "workers",
        len(os.sched_getaffinity(0)),
        "Processes, each of which writes one shard at a time; 0 uses this process.",
    )
    beam_help = "NAME=VALUE of an Apache Beam pipeline that writes the shards; may be repeated."
    flags.DEFINE_multi_string("beam_option", [], beam_help)
    run_program(main)
