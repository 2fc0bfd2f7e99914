"""Encoded clips as a tensorflow-datasets dataset in ArrayRecord files, without TensorFlow.

Layout of a dataset directory, as `tfds.builder_from_directory(directory)` reads it:

    dataset_info.json                  name, splits and their sizes
    features.json                      what a record holds (`record_features`)
    label.labels.txt                   class names, one a line; the line number is the label
    metadata.json                      whatever the maker of the dataset wants to remember
    NAME-SPLIT.array_record-NNNNN      records in the order in which they were given

A dataset is written beside its final place and renamed when complete, so a directory of the
final name is always whole.
"""

import contextlib
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from tensorflow_datasets.core import sequential_writer
from tensorflow_datasets.core.dataset_info import DatasetIdentity

# Examples handed over at once: the writer renews the metadata files for each hand-over.
_EXAMPLES_PER_WRITE = 32
UNLABELLED = -1


def record_features(class_names: Sequence[str]) -> tfds.features.FeaturesDict:
    """What one record holds; read back as bytes, int, float and one float32 array.

    Args:
        class_names: names of the classes, in the order of their labels.

    Returns:
        video: the encoded file. video_id: unique in the dataset. label: class index, or
        `UNLABELLED`. fps, num_frames, height, width (pixels): of the encoded video. profile:
        label of the encoding profile, empty if the file is as its publisher made it. encoder:
        software that encoded it, empty likewise. boxes: [num_frames * k, 4] float32, the boxes
        x1, y1, x2, y2 in pixels of k objects in each frame (`boxes.reshape(num_frames, -1, 4)`),
        NaN where an object is hidden, [0, 4] where nothing is known.
    """
    return tfds.features.FeaturesDict(
        {
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
    )


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
    for word in (name, *splits):
        if not re.fullmatch(r"[a-z][a-z0-9_]*", word):
            raise ValueError(
                f"{word!r} cannot name a dataset or a split; "
                "use lower-case letters, digits and underscores"
            )
    if "all" in splits:
        raise ValueError("a split cannot be named 'all': tfds takes it for the sum of all splits")
    seen: set[str] = set()
    counts = dict.fromkeys(splits, 0)
    with _directory_when_complete(pathlib.Path(out_dir).absolute(), overwrite) as directory:
        info = tfds.core.DatasetInfo(
            builder=DatasetIdentity(
                name=name,
                version=tfds.core.Version("1.0.0"),
                data_dir=str(directory),
                module_name=__name__,
            ),
            description=description or name,
            features=record_features(class_names),
            metadata=tfds.core.MetadataDict(metadata or {}),
        )
        writer = sequential_writer.SequentialWriter(
            info, max_examples_per_shard=records_per_shard, file_format="array_record"
        )
        writer.initialize_splits(list(splits))
        fields = set(info.features)
        for split, records in splits.items():
            waiting: list[dict[str, Any]] = []
            for record in records:
                where = f"record {record.get('video_id')!r} of split {split!r}"
                waiting.append(_checked(record, fields, len(class_names), where))
                if record["video_id"] in seen:
                    raise ValueError(
                        f"{where}: the id was already written; ids must be unique in the dataset"
                    )
                seen.add(record["video_id"])
                counts[split] += 1
                if len(waiting) == _EXAMPLES_PER_WRITE:
                    writer.add_examples({split: waiting})
                    waiting = []
            writer.add_examples({split: waiting})
            writer.close_splits([split])
            if counts[split] == 0:
                raise ValueError(f"split {split!r} of dataset {name!r} has no records")
    return counts
