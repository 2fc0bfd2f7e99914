"""Encoded clips as a tensorflow-datasets dataset in ArrayRecord files, without TensorFlow.

Layout of a dataset directory, as `tfds.builder_from_directory(directory)` reads it:

    dataset_info.json                  name, splits and their sizes
    features.json                      what a record holds (`record_features`)
    label.labels.txt                   class names, one a line; the line number is the label
    metadata.json                      whatever the maker of the dataset wants to remember
    NAME-SPLIT.array_record-NNNNN      records in the order in which they were given

A dataset is written beside its final place and renamed when complete, so a directory of the
final name is always whole. `write_records` does all of it; `write_shard` and `write_description`
are its parts, for a maker that goes on after it was killed.
"""

import contextlib
import dataclasses
import itertools
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core import example_serializer, naming
from tensorflow_datasets.core.dataset_info import DatasetIdentity

UNLABELLED = -1


def record_features(
    class_names: Sequence[str], *, key_frames: bool = False
) -> tfds.features.FeaturesDict:
    """What one record holds; read back as bytes, int, float and arrays.

    Args:
        class_names: names of the classes, in the order of their labels.
        key_frames: whether records are clips around key frames (AVA).

    Returns:
        video: the encoded file. video_id: unique in the dataset. label: class index, or
        `UNLABELLED`. fps, num_frames, height, width (pixels): of the encoded video. profile:
        label of the encoding profile, empty if the file is as its publisher made it. encoder:
        software that encoded it, empty likewise. boxes: [num_frames * k, 4] float32, the boxes
        x1, y1, x2, y2 in pixels of k objects in each frame (`boxes.reshape(num_frames, -1, 4)`),
        NaN where an object is hidden, [0, 4] where nothing is known. With key frames also:
        key_frame: number of the annotated frame in the clip. key_seconds: where it is in the whole
        video. key_boxes: [k, 4] float32, x1, y1, x2, y2 of k people in shares of the width and the
        height. key_actions: [k, classes] uint8, 1 where the person does it. key_person_ids: [k]
        int64.
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


def _checked(
    record: Mapping[str, Any], fields: set[str], num_classes: int, where: str
) -> dict[str, Any]:
    """The record in the types of its features; raises ValueError if it should not be written.

    tfds checks some of this too, but its message holds the whole record, video included.
    """
    if set(record) != fields:
        missing, unknown = sorted(fields - set(record)), sorted(set(record) - fields)
        raise ValueError(f"{where}: missing fields {missing}, unknown fields {unknown}")
    if not isinstance(record["video"], bytes) or not record["video"]:
        raise ValueError(f"{where}: video must be the bytes of a file, and not empty")
    if not UNLABELLED <= record["label"] < num_classes:
        raise ValueError(
            f"{where}: label {record['label']} is not one of the {num_classes} classes, "
            f"nor {UNLABELLED} for unlabelled"
        )
    boxes = np.asarray(record["boxes"], np.float32)
    num_frames = int(record["num_frames"])
    if boxes.ndim != 2 or boxes.shape[1] != 4 or num_frames < 1 or len(boxes) % num_frames:
        raise ValueError(
            f"{where}: boxes of shape {boxes.shape} for {num_frames} frames; "
            "they must be [num_frames * objects, 4]"
        )
    whole = {key: int(record[key]) for key in ("label", "num_frames", "height", "width")}
    return {**record, **whole, "fps": float(record["fps"]), "boxes": boxes}


@contextlib.contextmanager
def _directory_when_complete(directory: pathlib.Path, overwrite: bool) -> Iterator[pathlib.Path]:
    """A new directory beside `directory`, which takes its place when the block ends well."""
    if directory.exists() and not directory.is_dir():
        raise FileExistsError(f"{directory} is a file; name a directory for the dataset")
    if directory.is_dir() and any(directory.iterdir()) and not overwrite:
        raise FileExistsError(
            f"{directory} is not empty; name another directory, or overwrite it on purpose"
        )
    directory.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{directory.name}.incomplete-"
    for left_over in directory.parent.glob(f"{prefix}*"):
        logging.warning(
            "%s is another run's, still at work or killed; delete it in the latter case", left_over
        )
    work = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=directory.parent))
    try:
        new = work / "new"
        new.mkdir()
        yield new
        old = directory.rename(work / "old") if directory.exists() else None
        try:
            new.rename(directory)
        except OSError:
            if old is not None:
                old.rename(directory)
            raise
    finally:
        shutil.rmtree(work)


def _file_template(directory: pathlib.Path, name: str, split: str) -> naming.ShardedFileTemplate:
    return naming.ShardedFileTemplate(
        dataset_name=name,
        data_dir=directory,
        split=split,
        filetype_suffix="array_record",
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}",
    )


def shard_path(directory: pathlib.Path, name: str, split: str, index: int) -> pathlib.Path:
    """The file of one shard.

    Args:
        directory: of the dataset.
        name: of the dataset.
        split: name of the split.
        index: of the shard in its split.

    Returns:
        The path.
    """
    template = _file_template(directory, name, split)
    return pathlib.Path(template.sharded_filepath(shard_index=index, num_shards=None))


@dataclasses.dataclass(frozen=True)
class ShardSize:
    """What a shard holds: its records and their bytes before the file format's own."""

    num_records: int
    num_bytes: int


def write_shard(
    path: pathlib.Path,
    features: tfds.features.FeaturesDict,
    split: str,
    records: Iterable[Mapping[str, Any]],
) -> ShardSize:
    """Writes the file of one shard; equal records give equal bytes.

    Args:
        path: of the file, which is replaced.
        features: as `record_features` gives them.
        split: for messages.
        records: with these fields.

    Returns:
        The size of the shard.

    Raises:
        ValueError: a record with missing or unknown fields, or an impossible label or shape.
    """
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    fields, num_classes = set(features), features["label"].num_classes
    num_records = num_bytes = 0
    # Encoded video does not compress; trying costs every reader time.
    writer = ArrayRecordWriter(os.fspath(path), "group_size:1,uncompressed")
    try:
        for record in records:
            where = f"record {record.get('video_id')!r} of split {split!r}"
            checked = _checked(record, fields, num_classes, where)
            example = serializer.get_tf_example(features.encode_example(checked))
            # The order of the fields would otherwise differ from process to process.
            example = example.SerializeToString(deterministic=True)
            writer.write(example)
            num_records += 1
            num_bytes += len(example)
    finally:
        writer.close()
    return ShardSize(num_records, num_bytes)


def check_names(name: str, splits: Iterable[str]) -> None:
    """Raises ValueError where a dataset or its splits cannot be called so.

    Args:
        name: of the dataset.
        splits: their names.
    """
    for word in (name, *splits):
        if not re.fullmatch(r"[a-z][a-z0-9_]*", word):
            raise ValueError(
                f"{word!r} cannot name a dataset or a split; "
                "use lower-case letters, digits and underscores"
            )
    if "all" in splits:
        raise ValueError("a split cannot be named 'all': tfds takes it for the sum of all splits")


def write_description(
    directory: pathlib.Path,
    name: str,
    features: tfds.features.FeaturesDict,
    shards: Mapping[str, Sequence[ShardSize]],
    *,
    description: str = "",
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Writes what makes a directory of shards a dataset.

    Args:
        directory: of the shards.
        name: of the dataset, as in the names of the shards.
        features: as the shards were written with.
        shards: the sizes of the shards of each split.
        description: what the dataset is, for a reader.
        metadata: anything JSON can hold, kept in `metadata.json`.
    """
    info = tfds.core.DatasetInfo(
        builder=DatasetIdentity(
            name=name,
            version=tfds.core.Version("1.0.0"),
            data_dir=str(directory),
            module_name=__name__,
        ),
        description=description or name,
        features=features,
        metadata=tfds.core.MetadataDict(metadata or {}),
    )
    info.set_file_format("array_record")
    info.set_splits(
        tfds.core.splits.SplitDict(
            [
                tfds.core.SplitInfo(
                    name=split,
                    shard_lengths=[size.num_records for size in sizes],
                    num_bytes=sum(size.num_bytes for size in sizes),
                    filename_template=_file_template(directory, name, split),
                )
                for split, sizes in shards.items()
            ]
        )
    )
    info.write_to_directory(directory)


def write_records(
    out_dir: str | pathlib.Path,
    name: str,
    class_names: Sequence[str],
    splits: Mapping[str, Iterable[Mapping[str, Any]]],
    *,
    description: str = "",
    metadata: Mapping[str, Any] | None = None,
    records_per_shard: int = 1000,
    overwrite: bool = False,
) -> dict[str, int]:
    """Writes a dataset, which `tfds.builder_from_directory(out_dir)` then opens.

    Records are taken one after the other and never held all at once; splits are written in the
    order of the mapping.

    Args:
        out_dir: the directory that will hold the dataset itself, absent or empty.
        name: the dataset's name in its files: lower-case letters, digits and underscores.
        class_names: names of the classes, in the order of their labels.
        splits: the records of each split, with the fields of `record_features`.
        description: what the dataset is, for a reader.
        metadata: anything JSON can hold, kept in `metadata.json`.
        records_per_shard: records in one file.
        overwrite: replace what `out_dir` holds. It stays as it is until the new one is complete.

    Returns:
        The number of records in each split.

    Raises:
        FileExistsError: `out_dir` is not empty and `overwrite` is false.
        ValueError: a record with missing or unknown fields, an id that was written before, an
            impossible label or shape, a split without records, no splits, or a bad name.
    """
    if not splits:
        raise ValueError(f"dataset {name!r} has no splits to write")
    check_names(name, splits)
    features = record_features(class_names)
    seen: set[str] = set()

    def unseen(split: str, records: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        for record in records:
            if record.get("video_id") in seen:
                raise ValueError(
                    f"record {record['video_id']!r} of split {split!r}: the id was already "
                    "written; ids must be unique in the dataset"
                )
            seen.add(record.get("video_id"))
            yield record

    shards: dict[str, list[ShardSize]] = {}
    with _directory_when_complete(pathlib.Path(out_dir).absolute(), overwrite) as directory:
        for split, records in splits.items():
            shards[split] = []
            records = unseen(split, records)
            for first in records:
                rest = itertools.islice(records, records_per_shard - 1)
                path = shard_path(directory, name, split, len(shards[split]))
                size = write_shard(path, features, split, itertools.chain([first], rest))
                shards[split].append(size)
            if not shards[split]:
                raise ValueError(f"split {split!r} of dataset {name!r} has no records")
        write_description(
            directory, name, features, shards, description=description, metadata=metadata
        )
    return {split: sum(size.num_records for size in sizes) for split, sizes in shards.items()}
