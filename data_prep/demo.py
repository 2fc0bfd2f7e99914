"""Makes the demo set: rendered clips of moving objects, as records to train on.

    python -m data_prep.demo --out=DIR

Fourteen classes that differ in motion alone (`demo_scenes`), in the splits `train` and
`validation`. Every clip depends only on the seed, its split and its number, so the set is the
same whatever the number of workers. A set that is already there is not made again.

`--domain_shift` makes a miniature of partial domain adaptation (Table 3 of the paper): the training
clips stay, those of `validation` are of every other class alone and look like grey negatives.
"""

import concurrent.futures
import contextlib
import functools
import itertools
import json
import multiprocessing
import os
import pathlib
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from absl import app, flags, logging

from data_prep import demo_looks, demo_scenes, records, transcode
from data_prep.workers import leave_with_parent

FPS = 25.0
# To be raised when a change to the rendering or the encoding gives other clips.
_VERSION = 2
_SECONDS_BETWEEN_REPORTS = 5.0
_CLIPS_PER_TASK = 8


def make_record(
    seed: int, profile: str, domain_shift: bool, split: str, index: int
) -> dict[str, Any]:
    """Renders and encodes one clip.

    Args:
        seed: seed of the whole set.
        profile: label of the encoding profile.
        domain_shift: whether the clips of `validation` are the target domain.
        split: name of the split.
        index: number of the clip in its split.

    Returns:
        A record with the fields of `records.record_features`.
    """
    in_target = domain_shift and split == "validation"
    # Classes follow each other in turn, so every other clip is of every other class.
    clip = demo_scenes.render_clip(seed, split, 2 * index if in_target else index)
    frames = demo_looks.grey_negative(clip.frames) if in_target else clip.frames
    num_frames, height, width, _ = frames.shape
    return {
        "video": transcode.encode_h264(frames, FPS, transcode.parse_profile(profile)),
        "video_id": f"{split}_{index:06d}",
        "label": clip.label,
        "fps": FPS,
        "num_frames": num_frames,
        "height": height,
        "width": width,
        "profile": profile,
        "encoder": transcode.encoder_version(),
        "boxes": clip.boxes.reshape(-1, 4),
    }


def _reported(items: Iterable[dict[str, Any]], total: int) -> Iterator[dict[str, Any]]:
    """Passes items on and logs now and then how far they are and how long it will take."""
    start = reported = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - reported >= _SECONDS_BETWEEN_REPORTS:
            rate, reported = done / (now - start), now
            logging.info(
                "%d/%d clips, %.1f clips/s, %.0f s left", done, total, rate, (total - done) / rate
            )


def _is_there(directory: pathlib.Path, request: dict[str, Any]) -> bool:
    """Whether the directory holds what is requested; an error if it holds anything else."""
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return False
    advice = "name another --out, or delete it first"
    try:
        found = json.loads((directory / "metadata.json").read_text())["request"]
    except (OSError, ValueError, LookupError) as error:
        raise FileExistsError(f"{directory} holds something else: {advice}") from error
    if found != request:
        differences = ", ".join(
            f"{key} is {found.get(key)!r}, not {request.get(key)!r}"
            for key in sorted(found.keys() | request.keys())
            if found.get(key) != request.get(key)
        )
        raise FileExistsError(f"{directory} holds another demo set ({differences}): {advice}")
    return True


def make_demo(
    out: str | pathlib.Path,
    *,
    num_train: int = 1600,
    num_validation: int = 400,
    seed: int = 0,
    profile: str = "low_delay",
    domain_shift: bool = False,
    workers: int = 0,
) -> bool:
    """Makes the demo set, unless it is there.

    Args:
        out: directory of the dataset, absent or empty.
        num_train: clips in the split `train`.
        num_validation: clips in the split `validation`.
        seed: seed of the whole set, not negative.
        profile: label of the encoding profile, as `transcode.parse_profile` reads it.
        domain_shift: whether the split `validation` is another domain, of half the classes.
        workers: processes that render and encode; 0 does it in this process.

    Returns:
        True if the set was made, False if it was there.

    Raises:
        FileExistsError: `out` holds something else, or a demo set of other settings.
        ValueError: a number out of range, or an unknown profile.
    """
    if min(num_train, num_validation) < 1 or min(seed, workers) < 0:
        raise ValueError(
            f"cannot make {num_train} training and {num_validation} validation clips from seed "
            f"{seed} with {workers} workers; both splits need a clip, and no number is negative"
        )
    profile = transcode.parse_profile(profile).label
    directory = pathlib.Path(out).absolute()
    request = {
        "command": "data_prep.demo",
        "version": _VERSION,
        "num_train": num_train,
        "num_validation": num_validation,
        "seed": seed,
        "profile": profile,
    }
    if domain_shift:
        request["domain_shift"] = True
    if _is_there(directory, request):
        logging.info("%s already holds this demo set; nothing to do", directory)
        return False

    start = time.monotonic()
    tasks = [("train", index) for index in range(num_train)]
    tasks += [("validation", index) for index in range(num_validation)]
    make = functools.partial(make_record, seed, profile, domain_shift)
    with contextlib.ExitStack() as stack:
        run = map
        if workers:
            pool = concurrent.futures.ProcessPoolExecutor(
                workers, multiprocessing.get_context("spawn"), leave_with_parent
            )
            stack.callback(pool.shutdown, cancel_futures=True)
            run = functools.partial(pool.map, chunksize=_CLIPS_PER_TASK)
        made = _reported(run(make, *zip(*tasks, strict=True)), len(tasks))
        counts = records.write_records(
            directory,
            "motion_demo",
            demo_scenes.CLASS_NAMES,
            {
                "train": itertools.islice(made, num_train),
                "validation": itertools.islice(made, num_validation),
            },
            description="Rendered clips of objects in motion; the motion alone tells the class.",
            metadata={"request": request, "encoder": transcode.encoder_version()},
        )
    num_bytes = sum(file.stat().st_size for file in directory.iterdir())
    logging.info(
        "made %s: %s, %d classes, %.1f MB, in %.1f s",
        directory,
        ", ".join(f"{count} {split} clips" for split, count in counts.items()),
        len(demo_scenes.CLASS_NAMES),
        num_bytes / 1e6,
        time.monotonic() - start,
    )
    return True


def _define_flags() -> None:
    flags.DEFINE_string("out", None, "Directory of the dataset, absent or empty.", required=True)
    flags.DEFINE_integer("num_train", 1600, "Clips in the split train.")
    flags.DEFINE_integer("num_validation", 400, "Clips in the split validation.")
    flags.DEFINE_integer("seed", 0, "Seed of the whole set.")
    flags.DEFINE_string(
        "profile", "low_delay", "Encoding profile: low_delay or stride_aligned[:STRIDE]."
    )
    flags.DEFINE_bool("domain_shift", False, "Make validation another domain, of half the classes.")
    flags.DEFINE_integer(
        "workers",
        len(os.sched_getaffinity(0)),
        "Processes that render and encode; 0 does it in this process.",
    )


def main(argv: Sequence[str]) -> None:
    """Makes the demo set that the flags ask for."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    values = flags.FLAGS
    try:
        make_demo(
            values.out,
            num_train=values.num_train,
            num_validation=values.num_validation,
            seed=values.seed,
            profile=values.profile,
            domain_shift=values.domain_shift,
            workers=values.workers,
        )
    except (FileExistsError, ValueError) as error:
        raise app.UsageError(str(error)) from error


if __name__ == "__main__":
    # Only in the program itself: another command imported beside it may have equal names.
    _define_flags()
    app.run(main)
