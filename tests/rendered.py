"""Small real videos for tests, encoded as H.264."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_prep import records, transcode
from mgm_jax.data.identity import fingerprint


def moving_square(seed: int, *, frames: int = 40, height: int = 64, width: int = 80) -> np.ndarray:
    """RGB frames of a textured square that moves over a textured background."""
    rng = np.random.default_rng(seed)
    background = rng.integers(60, 120, (height // 4, width // 4, 3), np.uint8)
    background = background.repeat(4, axis=0).repeat(4, axis=1)
    square = rng.integers(120, 255, (5, 5, 3), np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    top, left = rng.integers(0, (height - 20, width - 20))
    step = rng.choice([-2, 2], 2)
    video = np.repeat(background[None], frames, axis=0)
    for frame in video:
        frame[top : top + 20, left : left + 20] = square
        step = np.where(
            (np.array([top, left]) + step < 0)
            | (np.array([top, left]) + step > (height - 20, width - 20)),
            -step,
            step,
        )
        top, left = np.array([top, left]) + step
    return video


def write_folder(folder: pathlib.Path, num_videos: int = 12, **shape: int) -> pathlib.Path:
    """Writes `num_videos` videos into two class folders."""
    for i in range(num_videos):
        file = folder / ("even", "odd")[i % 2] / f"video_{i:02d}.mp4"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(
            transcode.encode_h264(
                moving_square(i, **shape), fps=25, profile=transcode.PROFILES["low_delay"]
            )
        )
    return folder


def write_records(
    folder: pathlib.Path,
    class_names: Sequence[str],
    splits: Mapping[str, Sequence[Mapping[str, Any]]],
    records_per_shard: int = 1000,
    key_frames: bool = False,
    **description: Any,
) -> pathlib.Path:
    """Writes records to a prepared data set of the name `toy`."""
    folder.mkdir(parents=True)
    features = records.record_features(class_names, key_frames=key_frames)
    sizes: dict[str, list[records.ShardSize]] = {split: [] for split in splits}
    for split, rows in splits.items():
        for first in range(0, len(rows), records_per_shard):
            path = records.shard_path(folder, "toy", split, len(sizes[split]))
            part = rows[first : first + records_per_shard]
            sizes[split].append(records.write_records_file(path, features, split, part))
    listed = {
        split: [(row["video_id"], int(row["label"]), fingerprint(row["video"])) for row in rows]
        for split, rows in splits.items()
    }
    records.write_description(folder, "toy", features, sizes, listed, **description)
    return folder


def write_record_folder(
    folder: pathlib.Path,
    videos: Mapping[str, bytes],
    labels: Sequence[int] = (),
    classes: Sequence[str] = ("one",),
    profile: str = "low_delay",
    **settings: int,
) -> pathlib.Path:
    """Writes videos, by their ids, to a prepared data set with one split `train`."""
    facts = {"fps": 25.0, "num_frames": 40, "height": 64, "width": 80, "encoder": ""}
    facts |= {"profile": profile, "boxes": np.zeros((0, 4), np.float32)}
    rows = [
        facts | {"video": video, "video_id": name, "label": label}
        for (name, video), label in zip(videos.items(), labels or [0] * len(videos), strict=True)
    ]
    return write_records(folder, classes, {"train": rows}, **settings)
