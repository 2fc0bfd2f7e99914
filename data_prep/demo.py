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

import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags
from jaxtyping import UInt8

from data_prep import output, transcode
from data_prep.conversion import Conversion
from data_prep.demo_scenes import (
    CLASS_NAMES,
    HEADINGS,
    NUM_FRAMES,
    SIZE,
    mixed_boxes,
    render_clip,
    render_mixed_clip,
)
from data_prep.entries import UNLABELLED, Entry, KeyFrame, Listing
from data_prep.shards import write_shards
from mgm_jax.data.identity import fingerprint
from mgm_jax.errors import ConfigError
from mgm_jax.io import local_path
from mgm_jax.program import run_program

FPS = 25.0
# To be raised if a change to the rendering or the encoding changes the clips.
_VERSION = 6
_CLIPS_PER_SHARD = 200


def _grey_negative(frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t h w 3"]:
    """Frames without colour and with inverted brightness: the look of another domain."""
    grey = frames @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.repeat((255.5 - grey).astype(np.uint8)[..., None], 3, axis=-1)


def render(folder: str, entry: Entry, *, seed: int, profile: str, domain_shift: bool) -> Conversion:
    """Renders and encodes the clip whose number is the entry's `file`; there is no folder."""
    if entry.key_frame is not None:
        frames = render_mixed_clip(seed, entry.split, int(entry.file))
        more: dict[str, Any] = {"key_frame": NUM_FRAMES // 2}
    else:
        clip = render_clip(seed, entry.split, int(entry.file))
        in_target = domain_shift and entry.split == "validation"
        frames = _grey_negative(clip.frames) if in_target else clip.frames
        more = {"boxes": clip.boxes.reshape(-1, 4)}
    num_frames, height, width, _ = frames.shape
    video = transcode.encode_h264(frames, FPS, transcode.parse_profile(profile))
    facts = {
        "fps": FPS,
        "num_frames": num_frames,
        "height": height,
        "width": width,
        "profile": profile,
        "encoder": transcode.encoder_version(),
        **more,
    }
    return Conversion(video, facts, fingerprint=fingerprint(video))


def _key_frame_entry(seed: int, split: str, index: int) -> Entry:
    boxes, headings = mixed_boxes(seed, split, index)
    key_frame = KeyFrame(
        seconds=NUM_FRAMES // 2 / FPS,
        boxes=tuple(map(tuple, (boxes / SIZE).tolist())),
        actions=tuple((heading,) for heading in headings),
        person_ids=tuple(range(len(headings))),
    )
    return Entry(f"{split}_{index:04d}", split, UNLABELLED, str(index), key_frame)


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
) -> dict[str, Any] | None:
    """Makes the demo dataset in `out`; `profile` is a label of `transcode.parse_profile`.

    For `workers` see `shards.write_shards`, for the report and further errors `output.build`.

    Raises:
        ConfigError: A number is out of range, or the profile unknown.
    """
    if min(num_train, num_validation) < 1 or min(seed, workers) < 0:
        raise ConfigError(
            f"--num_train={num_train}, --num_validation={num_validation}, --seed={seed}, "
            f"--workers={workers}: each split needs a clip, and no number may be negative"
        )
    if key_frames and domain_shift:
        raise ConfigError("--key_frames and --domain_shift make different data sets; choose one")
    profile = transcode.parse_profile(profile).label
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
    entries: list[Entry] = []
    for split, count in (("train", num_train), ("validation", num_validation)):
        # The classes take turns, so every second clip is of every second class.
        step = 2 if domain_shift and split == "validation" else 1
        for number in range(0, step * count, step):
            if key_frames:
                entries.append(_key_frame_entry(seed, split, number))
                continue
            group, label = divmod(number, len(CLASS_NAMES))
            # As in UCF101, so that clips of equal looks stay together where some are held out.
            entries.append(Entry(f"{split}_g{group:04d}_{label:02d}", split, label, str(number)))
    return output.build(
        local_path(out, "--out"),
        request,
        Listing(
            "motion_demo",
            HEADINGS if key_frames else CLASS_NAMES,
            tuple(entries),
            "Rendered clips of objects in motion; the motion alone tells the class.",
        ),
        "",
        functools.partial(render, seed=seed, profile=profile, domain_shift=domain_shift),
        records_per_shard=_CLIPS_PER_SHARD,
        write_shards=functools.partial(write_shards, workers=workers),
    )


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


def main(_: Sequence[str]) -> None:
    """Makes the dataset that the flags describe."""
    values = flags.FLAGS
    names = ("num_train", "num_validation", "seed", "profile", "workers")
    names += ("domain_shift", "key_frames")
    make_demo(values.out, **{name: getattr(values, name) for name in names})


if __name__ == "__main__":
    # Defined here because other commands define flags with the same names.
    _define_flags()
    run_program(main)
