"""Makes a dataset of records from downloaded videos and their official annotations.

    python -m data_prep.prepare --dataset=ssv2 --videos=DIR --annotations=DIR --out=DIR

A run that was killed goes on with the same command, and the records become the same, byte for byte,
as if it had not been. `docs/data_preparation.md` says what lies where for each dataset.
"""

import collections
import functools
import os
import sys
from collections.abc import Sequence
from typing import Any

from absl import app, flags, logging

from data_prep import records, shards
from data_prep.beam import make_on_beam
from data_prep.conversion import COPY, Settings, make_settings
from data_prep.datasets import DATASETS, Choices, read_dataset
from data_prep.entries import UNREADABLE, Listing, listed_problems
from data_prep.estimate import estimate
from data_prep.files import VideoFiles
from data_prep.shards import FinishedShard, Shard
from data_prep.staging import REPORT, Staging
from data_prep.work import make_shards
from mgm_jax.errors import ConfigError, MgmError

_PROBLEMS_LOGGED = 20


def prepare(
    dataset: str,
    videos: str,
    out: str,
    *,
    choices: Choices,
    settings: Settings,
    workers: int = 0,
    records_per_shard: int = 1000,
    dry_run: bool = False,
    beam_options: Sequence[str] | None = None,
) -> dict[str, Any] | None:
    """Makes a dataset, unless it is there.

    Args:
        dataset: A key of `datasets.DATASETS`.
        videos: Folder of the videos.
        out: Directory of the dataset, absent or empty, or as a killed run left it.
        choices: About the dataset.
        settings: Of the conversion.
        workers: Processes that convert; 0 does it in this process.
        records_per_shard: Records in one file.
        dry_run: Say what would be done, and do nothing.
        beam_options: Options of an Apache Beam pipeline that makes the shards; None makes them in
            processes of this machine.

    Returns:
        The report, as in `report.json`; None of a dry run, or if the dataset was there.

    Raises:
        ConfigError: What is asked for cannot be done.
    """
    if workers < 0 or records_per_shard < 1:
        raise ConfigError(
            f"--workers: {workers}, --records_per_shard: {records_per_shard}; neither can be less "
            "than 0, nor the latter 0"
        )
    files = VideoFiles(videos)
    listing = read_dataset(dataset, files, choices)
    _check(listing, settings)
    request = {
        "command": "data_prep.prepare",
        "dataset": dataset,
        "name": listing.name,
        "split_number": choices.split_number,
        "settings": settings.describe(),
        "records_per_shard": records_per_shard,
    }
    staging = Staging(out, request)
    if staging.is_complete:
        logging.info("%s already holds this dataset; nothing to do", staging.out)
        staging.clear()
        return None
    planned = shards.plan_shards(
        staging.directory, listing, files.folder, settings, records_per_shard
    )
    if not planned:
        raise ConfigError(
            f"--videos: of {len(listing.entries)} videos that {dataset} lists, none is below "
            f"{files.folder} (there is, for instance, {files.paths[0]}); check the folder"
        )
    if dry_run:
        print(estimate(listing, planned, files.folder, settings, staging.out, workers))
        return None
    with staging:
        make = functools.partial(
            make_shards,
            class_names=listing.class_names,
            key_frames=listing.has_key_frames,
            folder=files.folder,
            settings=settings,
            workers=workers,
        )
        if beam_options is None:
            make(planned)
        else:
            make_on_beam(make, planned, beam_options)
        finished = [shards.read_finished(shard) for shard in planned]
        report = make_report(listing, planned, finished)
        if not any(facts.size.num_records for facts in finished):
            reason = next(p["reason"] for p in report["problems"] if p["kind"] == UNREADABLE)
            raise ConfigError(f"--videos: not one video could be read; the first: {reason}")
        staging.complete(listing, planned, finished, report)
    log_report(report, staging.out)
    return report


def _check(listing: Listing, settings: Settings) -> None:
    try:
        records.check_names(listing.name, {entry.split for entry in listing.entries})
    except ValueError as error:
        raise ConfigError(f"--name, --annotations: {error}") from error
    if settings.profile == COPY and listing.has_key_frames:
        raise ConfigError(
            f"--profile: {COPY} cannot cut clips out of films; choose low_delay or stride_aligned"
        )


def make_report(
    listing: Listing, planned: Sequence[Shard], finished: Sequence[FinishedShard]
) -> dict[str, Any]:
    """What became of all videos.

    Args:
        listing: The dataset.
        planned: Its shards.
        finished: The same, in the same order.

    Returns:
        Per split: how many videos the annotations list, how many records there are, and the number
        of problems of each kind; and all problems.
    """
    problems = [problem for shard in finished for problem in shard.problems]
    prepared = {shard.split for shard in planned}
    for entry in listing.entries:
        if entry.split not in prepared:
            problems += listed_problems(entry)
    recorded: collections.Counter[str] = collections.Counter()
    for shard, facts in zip(planned, finished, strict=True):
        recorded[shard.split] += facts.size.num_records
    listed = collections.Counter(entry.split for entry in listing.entries)
    return {
        "dataset": listing.name,
        "splits": {
            split: {
                "listed": count,
                "records": recorded[split],
                "problems": collections.Counter(
                    problem.kind for problem in problems if problem.split == split
                ),
            }
            for split, count in listed.items()
        },
        "problems": [problem.to_json() for problem in problems],
    }


def log_report(report: dict[str, Any], out: os.PathLike) -> None:
    """Logs the summary of a report."""
    logging.info("%s is complete", out)
    for split, facts in report["splits"].items():
        problems = "".join(f", {count} {kind}" for kind, count in facts["problems"].items())
        logging.info(
            "  %s: %d records of %d listed videos%s",
            split,
            facts["records"],
            facts["listed"],
            problems,
        )
    for problem in report["problems"][:_PROBLEMS_LOGGED]:
        logging.info("  %s: %s: %s", problem["kind"], problem["video_id"], problem["reason"])
    if report["problems"]:
        logging.info("all %d problems are in %s/%s", len(report["problems"]), out, REPORT)


def _define_flags() -> None:
    flags.DEFINE_string("dataset", None, f"One of {', '.join(DATASETS)}.", required=True)
    flags.DEFINE_string("videos", None, "Folder of the videos, in any depth.", required=True)
    flags.DEFINE_string("annotations", None, "Folder of the annotation files; the csv file.")
    flags.DEFINE_string("out", None, "Directory of the dataset, absent or empty.", required=True)
    flags.DEFINE_string("name", None, "Name of the dataset in its files, instead of its own.")
    flags.DEFINE_integer("split_number", 1, "Official split of ucf101 and hmdb51.", 1, 3)
    flags.DEFINE_string("profile", "low_delay", "low_delay, stride_aligned, or copy.")
    flags.DEFINE_integer("short_side", 256, "Longest short side, pixels; 0 keeps the size.")
    flags.DEFINE_integer("stride", 4, "Of stride_aligned: frames from one sampled to the next.")
    flags.DEFINE_integer("records_per_shard", 1000, "Records in one file.")
    flags.DEFINE_integer(
        "workers",
        len(os.sched_getaffinity(0)),
        "Processes that convert; 0 does it in this process.",
    )
    flags.DEFINE_string(
        "beam_runner",
        None,
        "Make the shards by an Apache Beam pipeline on this runner, such as DirectRunner.",
    )
    flags.DEFINE_multi_string("beam_option", [], "NAME=VALUE of the pipeline; may be repeated.")
    flags.DEFINE_boolean("dry_run", False, "Say what would be done, and do nothing.")


def main(argv: Sequence[str]) -> None:
    """Makes the dataset that the flags ask for."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    values = flags.FLAGS
    try:
        if values.beam_option and values.beam_runner is None:
            raise ConfigError("--beam_option: there is no --beam_runner to take it")
        beam_options = [f"--{option}" for option in values.beam_option]
        prepare(
            values.dataset,
            values.videos,
            values.out,
            choices=Choices(values.annotations, values.split_number, values.name),
            settings=make_settings(values.profile, values.stride, values.short_side),
            workers=values.workers,
            records_per_shard=values.records_per_shard,
            dry_run=values.dry_run,
            beam_options=values.beam_runner and [f"--runner={values.beam_runner}", *beam_options],
        )
    except MgmError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    # Only in the program itself: another command imported beside it may have equal names.
    _define_flags()
    logging.set_verbosity(logging.INFO)
    app.run(main)
