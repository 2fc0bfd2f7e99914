"""Encoded clips as a tensorflow-datasets dataset in ArrayRecord files, without TensorFlow.

Layout of a dataset folder, which `tfds.builder_from_directory(folder)` opens:

    dataset_info.json                  name, splits and their sizes
    features.json                      fields of a record (`record_features`)
    label.labels.txt                   class names, one per line, in the order of the labels
    metadata.json                      class names, and how the dataset was made
    videos.json                        id, label and fingerprint of each video; its group if known
    NAME-SPLIT.array_record-NNNNN      records, in the order in which they were given
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core import example_serializer, naming
from tensorflow_datasets.core.dataset_info import DatasetIdentity

from data_prep.entries import UNLABELLED
from mgm_jax.data.records import VIDEOS_FILE, check_label_file
from mgm_jax.errors import ConfigError
from mgm_jax.io import writing

ListedRecord = tuple[str, int, str] | tuple[str, int, str, str]
"""Id, label, fingerprint (`mgm_jax.data.identity`) of the file of a record, and group if known."""


def record_features(
    class_names: Sequence[str], *, key_frames: bool = False
) -> tfds.features.FeaturesDict:
    """The fields of a record; tfds reads them as bytes, int, float and arrays.

    video: the encoded file.
    video_id: unique in the dataset.
    label: class index, or `UNLABELLED`.
    fps, num_frames, height, width (pixels): of the encoded video.
    profile: label of the encoding profile; empty for videos that earlier versions copied.
    encoder: software that encoded the video; empty for a copy.
    boxes: x1, y1, x2, y2 in pixels of k objects in each frame (`boxes.reshape(num_frames, -1, 4)`),
        NaN where an object is hidden; [0, 4] without boxes.

    Clips around key frames (AVA) also have, for k people:
    key_frame: index of the annotated frame in the clip.
    key_seconds: time of this frame in the whole video.
    key_boxes: x1, y1, x2, y2 as fractions of the width and the height.
    key_actions: 1 for each action of a person.
    key_person_ids: the same in neighbouring key frames.
    """
    fields = {
        "video": tfds.features.Tensor(shape=(), dtype=np.object_),
        "video_id": tfds.features.Text(),
        "label": tfds.features.ClassLabel(names=list(class_names)),
        "fps": tfds.features.Scalar(np.float32),
        "num_frames": tfds.features.Scalar(np.int64),
        "height": tfds.features.Scalar(np.int64),
        "width": tfds.features.Scalar(np.int64),
        "profile": tfds.features.Text(),
        "encoder": tfds.features.Text(),
        "boxes": tfds.features.Tensor(shape=(None, 4), dtype=np.float32),
    }
    if key_frames:
        fields |= {
            "key_frame": tfds.features.Scalar(np.int64),
            "key_seconds": tfds.features.Scalar(np.float32),
            "key_boxes": tfds.features.Tensor(shape=(None, 4), dtype=np.float32),
            "key_actions": tfds.features.Tensor(shape=(None, len(class_names)), dtype=np.uint8),
            "key_person_ids": tfds.features.Tensor(shape=(None,), dtype=np.int64),
        }
    return tfds.features.FeaturesDict(fields)


def _file_template(folder: pathlib.Path, name: str, split: str) -> naming.ShardedFileTemplate:
    return naming.ShardedFileTemplate(
        dataset_name=name,
        data_dir=folder,
        split=split,
        filetype_suffix="array_record",
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}",
    )


def shard_path(folder: pathlib.Path, name: str, split: str, index: int) -> pathlib.Path:
    """The file of a shard of the dataset `name` in `folder`."""
    template = _file_template(folder, name, split)
    return pathlib.Path(template.sharded_filepath(shard_index=index, num_shards=None))


@contextlib.contextmanager
def atomic_write(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a temporary path, which replaces `path` if the block succeeds."""
    new = path.with_name(f"{path.name}.new-{os.getpid()}")
    try:
        yield new
        with open(new, "rb") as file:
            os.fsync(file.fileno())
        new.rename(path)
    finally:
        new.unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True)
class ShardSize:
    """Records of a shard, and their bytes without the overhead of the file format."""

    num_records: int
    num_bytes: int


@contextlib.contextmanager
def _writing(path: pathlib.Path) -> Iterator[None]:
    """As `io.writing`; ArrayRecord raises RuntimeError if the disk is full."""
    with writing(path):
        try:
            yield
        except RuntimeError as error:
            raise OSError(str(error)) from error


def write_records_file(
    path: pathlib.Path,
    features: tfds.features.FeaturesDict,
    split: str,
    records: Iterable[Mapping[str, Any]],
) -> ShardSize:
    """Writes the file of one shard atomically; equal records give equal bytes.

    Raises:
        ValueError: A record has a label of no class; the message names it and its split.
        WriteError: The disk is full or faulty.
    """
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    num_classes = features["label"].num_classes
    num_records = num_bytes = 0
    with atomic_write(path) as new:
        # Encoded video does not compress; trying costs every reader time.
        writer = ArrayRecordWriter(os.fspath(new), "group_size:1,uncompressed")
        try:
            for record in records:
                # The message of tfds holds the whole record, video included.
                if not UNLABELLED <= record["label"] < num_classes:
                    raise ValueError(
                        f"record {record['video_id']!r} of split {split!r}: label "
                        f"{record['label']} is not one of the {num_classes} classes, nor "
                        f"{UNLABELLED} for unlabelled"
                    )
                example = serializer.get_tf_example(features.encode_example(record))
                # Otherwise the order of the fields differs from process to process.
                serialized = example.SerializeToString(deterministic=True)
                with _writing(path):
                    writer.write(serialized)
                num_records += 1
                num_bytes += len(serialized)
        finally:
            with _writing(path):
                writer.close()
    return ShardSize(num_records, num_bytes)


def check_names(name: str, splits: Iterable[str]) -> None:
    """Raises ConfigError if a dataset or its splits cannot have these names."""
    for word in (name, *splits):
        if word == "all" or not re.fullmatch(r"[a-z][a-z0-9_]*", word):
            raise ConfigError(
                f"--name, --annotations: {word!r} cannot name a dataset or a split; use lower-case "
                "letters, digits and underscores, and not 'all', which tfds takes for all splits"
            )


def write_description(
    folder: pathlib.Path,
    name: str,
    features: tfds.features.FeaturesDict,
    shards: Mapping[str, Sequence[ShardSize]],
    videos: Mapping[str, Sequence[ListedRecord]],
    *,
    description: str = "",
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Writes the files that turn a folder of shards into a dataset.

    `shards` gives the sizes of each split's shards, `videos` its records; `metadata` says how the
    dataset was made.
    """
    class_names = features["label"].names
    info = tfds.core.DatasetInfo(
        builder=DatasetIdentity(
            name=name,
            version=tfds.core.Version("1.0.0"),
            data_dir=str(folder),
            module_name=__name__,
        ),
        description=description or name,
        features=features,
        metadata=tfds.core.MetadataDict({"class_names": class_names, **(metadata or {})}),
    )
    info.set_file_format("array_record")
    split_infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[size.num_records for size in sizes],
            num_bytes=sum(size.num_bytes for size in sizes),
            filename_template=_file_template(folder, name, split),
        )
        for split, sizes in shards.items()
    ]
    info.set_splits(tfds.core.splits.SplitDict(split_infos))
    info.write_to_directory(folder)
    (folder / VIDEOS_FILE).write_text(json.dumps(videos, indent=0))
    check_label_file(folder, tfds.builder_from_directory(folder).info.features["label"].names)
