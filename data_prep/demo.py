"""Makes the demo dataset: rendered clips of moving objects, as records to train on.

    python -m data_prep.demo --out=DIR

The splits `train` and `validation` hold clips of 64 pixels in 12 classes that differ only in their
motion (`demo_scenes`). A clip depends only on the seed, its split and its index, so the number of
workers changes nothing. A dataset that exists is not made again.

`--key_frames` makes a miniature of AVA: clips of several objects that go different ways, with a box
and a class for each object in the middle frame (configs/demo_detect.py).

`--domain_shift` makes a miniature of partial domain adaptation (Table 3 of the paper): the clips of
`train` stay the same, those of `validation` are grey negatives of every other class.
"""

import contextlib
import functools
import itertools
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from absl import app, flags, logging
from jaxtyping import UInt8

from data_prep import demo_scenes, output, records, transcode
from data_prep.entries import UNLABELLED, KeyFrame
from data_prep.processes import process_pool
from mgm_jax.errors import ConfigError, MgmError

FPS = 25.0
# To be raised if a change to the rendering or the encoding changes the clips.
_VERSION = 3


def _grey_negative(frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t h w 3"]:
    """Frames without colour and with inverted brightness: the look of another domain."""
    grey = frames @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.repeat((255.5 - grey).astype(np.uint8)[..., None], 3, axis=-1)


def make_key_frame_record(seed: int, profile: str, split: str, index: int) -> dict[str, Any]:
    """Renders and encodes one clip with its key frame, a record like those of AVA."""
    clip = demo_scenes.render_mixed_clip(seed, split, index)
    place = demo_scenes.NUM_FRAMES // 2
    key = KeyFrame(
        seconds=place / FPS,
        boxes=tuple(map(tuple, (clip.boxes / demo_scenes.SIZE).tolist())),
        actions=tuple((heading,) for heading in clip.headings),
        person_ids=tuple(range(len(clip.headings))),
    )
    fields = _record(clip.frames, profile, f"{split}_{index:04d}")
    return fields | key.fields(place, len(demo_scenes.HEADINGS))


def _record(frames: UInt8[np.ndarray, "t h w 3"], profile: str, video_id: str) -> dict[str, Any]:
    num_frames, height, width, _ = frames.shape
    return {
        "video": transcode.encode_h264(frames, FPS, transcode.parse_profile(profile)),
        "video_id": video_id,
        "label": UNLABELLED,
        "fps": FPS,
        "num_frames": num_frames,
        "height": height,
        "width": width,
        "profile": profile,
        "encoder": transcode.encoder_version(),
        "boxes": np.zeros((0, 4), np.float32),
    }


def make_record(
    seed: int, profile: str, domain_shift: bool, split: str, index: int
) -> dict[str, Any]:
    """Renders and encodes one clip, with the fields of `records.record_features`."""
    in_target = domain_shift and split == "validation"
    # The classes take turns, so every second clip is of every second class.
    clip = demo_scenes.render_clip(seed, split, 2 * index if in_target else index)
    frames = _grey_negative(clip.frames) if in_target else clip.frames
    fields = _record(frames, profile, f"{split}_{index:06d}")
    return fields | {"label": clip.label, "boxes": clip.boxes.reshape(-1, 4)}


def _log_progress(items: Iterable[dict[str, Any]], total: int) -> Iterator[dict[str, Any]]:
    for done, item in enumerate(items, 1):
        if done % 200 == 0 or done == total:
            logging.info("%d of %d clips", done, total)
        yield item


def make_demo(
    out: str | pathlib.Path,
    *,
    num_train: int = 10080,
    num_validation: int = 1008,
    seed: int = 0,
    profile: str = "low_delay",
    domain_shift: bool = False,
    key_frames: bool = False,
    workers: int = 0,
) -> bool:
    """Makes the demo dataset in `out`, an absent or empty folder, unless it exists.

    `profile` is a label of `transcode.parse_profile`. With `workers` 0 this process renders.

    Returns:
        True if the dataset was made, False if it existed.

    Raises:
        ConfigError: `out` holds something else, a number is out of range, or the profile unknown.
    """
    if min(num_train, num_validation) < 1 or min(seed, workers) < 0:
        raise ConfigError(
            f"--num_train={num_train}, --num_validation={num_validation}, --seed={seed}, "
            f"--workers={workers}: each split needs a clip, and no number may be negative"
        )
    profile = transcode.parse_profile(profile).label
    folder = pathlib.Path(out).absolute()
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
    if key_frames:
        request["key_frames"] = True
    if output.is_complete(folder, request):
        logging.info("%s already holds this dataset; nothing to do", folder)
        return False
    splits = ["train"] * num_train + ["validation"] * num_validation
    indices = itertools.chain(range(num_train), range(num_validation))
    make = functools.partial(make_record, seed, profile, domain_shift)
    if key_frames:
        make = functools.partial(make_key_frame_record, seed, profile)
    with contextlib.ExitStack() as stack:
        run = map
        if workers:
            pool = stack.enter_context(process_pool(workers))
            run = functools.partial(pool.map, chunksize=8)
        clips = _log_progress(run(make, splits, indices), len(splits))
        records.write_records(
            folder,
            "motion_demo",
            demo_scenes.HEADINGS if key_frames else demo_scenes.CLASS_NAMES,
            {
                "train": itertools.islice(clips, num_train),
                "validation": itertools.islice(clips, num_validation),
            },
            description="Rendered clips of objects in motion; the motion alone tells the class.",
            metadata={"request": request, "encoder": transcode.encoder_version()},
            key_frames=key_frames,
        )
    logging.info("%s is complete", folder)
    return True


def _define_flags() -> None:
    flags.DEFINE_string("out", None, "Folder of the dataset, absent or empty.", required=True)
    flags.DEFINE_integer("num_train", 10080, "Clips in the split train.")
    flags.DEFINE_integer("num_validation", 1008, "Clips in the split validation.")
    flags.DEFINE_integer("seed", 0, "Seed of the whole dataset.")
    flags.DEFINE_string("profile", "low_delay", "low_delay or stride_aligned[:STRIDE].")
    flags.DEFINE_bool("domain_shift", False, "Make validation another domain, of half the classes.")
    flags.DEFINE_bool("key_frames", False, "Boxes of objects that go different ways, as in AVA.")
    flags.DEFINE_integer(
        "workers",
        len(os.sched_getaffinity(0)),
        "Processes that render and encode; 0 uses this process.",
    )


def main(argv: Sequence[str]) -> None:
    """Makes the dataset that the flags describe."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    values = flags.FLAGS
    names = ("num_train", "num_validation", "seed", "profile", "domain_shift", "key_frames")
    names += ("workers",)
    try:
        if values.key_frames and values.domain_shift:
            raise ConfigError("--key_frames and --domain_shift are different data sets; choose one")
        make_demo(values.out, **{name: getattr(values, name) for name in names})
    except MgmError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    # Defined here because other commands define flags with the same names.
    _define_flags()
    logging.set_verbosity(logging.INFO)
    app.run(main)
