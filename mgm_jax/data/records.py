"""What is known of a video before it is opened, and data sets that data_prep has prepared.

A source is a sequence of `VideoRecord`s. Sources are small and picklable: they are sent to the
worker processes.
"""

import bisect
import dataclasses
import itertools
import json
import os
import pathlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader
from jaxtyping import Float32

from mgm_jax.data.ava_files import film_of
from mgm_jax.data.identity import VideoFacts, group_of
from mgm_jax.data.key_frames import KeyFrame
from mgm_jax.errors import ConfigError, VideoError, printable
from mgm_jax.io import check_utf8

UNLABELLED = -1
"""Label of a video whose class is not known."""

VIDEOS_FILE = "videos.json"
"""In a prepared data set: id, label, fingerprint and, if known, group of each record, by split."""

_ESCAPE = "backslashreplace"
# Records are read in random order. Without both options, dozens more are read after each.
_READER_OPTIONS = {
    "options": "readahead_buffer_size:0,max_parallelism:0",
    "file_reader_buffer_size": 32768,
}


@dataclasses.dataclass(frozen=True)
class VideoRecord:
    """One video of a source.

    Attributes:
        video: Path of the file, or its bytes.
        video_id: Name, unique in the source.
        label: Number of the class, or `UNLABELLED`.
        boxes: x1, y1, x2, y2 of k objects in each frame, in source pixels (see `boxes`), NaN where
            an object is absent; None if no boxes are known.
        profile: The data_prep profile that the video was encoded with; empty for other files.
        key: The annotated frame of a clip of AVA.
    """

    video: str | bytes
    video_id: str
    label: int
    boxes: Float32[np.ndarray, "num_frames k 4"] | None = dataclasses.field(
        default=None, compare=False
    )
    profile: str = ""
    key: KeyFrame | None = dataclasses.field(default=None, compare=False)


@runtime_checkable
class VideoSource(Protocol):
    """A sequence of videos with named classes."""

    class_names: tuple[str, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> VideoRecord:
        """The video at a position; raises `VideoError` if it cannot be read."""
        ...

    def describe(self, index: int) -> str:
        """A name by which a person finds the video, printable; does not read it."""
        ...

    def facts(self) -> list[VideoFacts]:
        """What is known of each video without reading it."""
        ...


class RecordSource:
    """One split of a tensorflow-datasets data set in ArrayRecord files.

    Raises:
        ConfigError: No such data set or split, or it was not prepared by this version's data_prep.
    """

    def __init__(self, folder: str, split: str):
        import tensorflow_datasets as tfds

        check_utf8(folder)
        if not os.path.exists(os.path.join(folder, "dataset_info.json")):
            raise ConfigError(
                f"config.data.path: no prepared data set at {os.path.abspath(folder)} (it has no "
                "dataset_info.json); prepare one with data_prep, or read the video files as they "
                "are with --config.data.source=folder"
            )
        if not os.path.exists(os.path.join(folder, VIDEOS_FILE)):
            raise ConfigError(
                f"config.data.path: {folder} was prepared by an earlier version of mgm_jax, or by "
                f"another program (it has no {VIDEOS_FILE}); prepare it again with data_prep"
            )
        builder = tfds.builder_from_directory(folder)
        if split not in builder.info.splits:
            raise ConfigError(
                f"config.data.split: {folder} has no split {split!r}; "
                f"it has {', '.join(builder.info.splits)}"
            )
        info = builder.info.splits[split]
        self._folder, self._split = folder, split
        self._name = printable(f"{folder}[{split}]")
        self._records = ShardedRecords([str(file) for file in info.filepaths], info.shard_lengths)
        self.class_names = tuple(builder.info.features["label"].names)
        check_label_file(folder, self.class_names)
        self._of_films = "key_frame" in builder.info.features

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> VideoRecord:
        """The record at a position; raises `VideoError` if it is damaged."""
        from tensorflow_datasets.proto import tf_example_pb2

        try:
            record = self._records[index]
        except (RuntimeError, IndexError) as error:
            raise VideoError(
                f"{self.describe(index)}: the record cannot be read ({error}); prepare its shard "
                "again"
            ) from error
        # Parsing through tfds takes several times as long.
        fields = tf_example_pb2.Example.FromString(record).features.feature
        boxes = np.array(fields["boxes"].float_list.value, np.float32)
        (num_frames,) = fields["num_frames"].int64_list.value
        return VideoRecord(
            video=fields["video"].bytes_list.value[0],
            video_id=printable(fields["video_id"].bytes_list.value[0].decode(errors=_ESCAPE)),
            label=fields["label"].int64_list.value[0],
            boxes=boxes.reshape(num_frames, -1, 4) if len(boxes) else None,
            profile=fields["profile"].bytes_list.value[0].decode(),
            key=_key_frame(fields, len(self.class_names)) if "key_frame" in fields else None,
        )

    def describe(self, index: int) -> str:
        """Data set, split and position of the record."""
        return f"{self._name} record {index}"

    def facts(self) -> list[VideoFacts]:
        """What the list of the data set says; the clips around a film's key frames are a group."""
        default_group = film_of if self._of_films else group_of
        return [
            VideoFacts(name, label, group[0] if group else default_group(name), fingerprint=of_file)
            for name, label, of_file, *group in read_listed_videos(self._folder)[self._split]
        ]


def _key_frame(fields: Mapping[str, Any], num_classes: int) -> KeyFrame:
    boxes = np.array(fields["key_boxes"].float_list.value, np.float32)
    actions = np.array(fields["key_actions"].int64_list.value, np.uint8)
    (frame,) = fields["key_frame"].int64_list.value
    (fps,) = fields["fps"].float_list.value
    return KeyFrame(frame, boxes.reshape(-1, 4), actions.reshape(-1, num_classes), fps=fps)


def read_listed_videos(folder: str | os.PathLike) -> dict[str, list[list[Any]]]:
    """Id, label and fingerprint of each record, by split."""
    return _read_json(folder, VIDEOS_FILE)


def check_label_file(folder: str | os.PathLike, names: Sequence[str]) -> None:
    """Compares the classes that are read from a prepared data set with those it was made with.

    Raises:
        ConfigError: They differ, or cannot be read.
    """
    made_with = _read_json(folder, "metadata.json").get("class_names", list(names))
    if list(names) != made_with:
        differing = [pair for pair in itertools.zip_longest(made_with, names) if len({*pair}) > 1]
        raise ConfigError(
            f"the classes of {folder} are not those it was prepared with: {differing[0][0]!r} is "
            f"read as {differing[0][1]!r} (label.labels.txt); prepare the data set again"
        )


def _read_json(folder: str | os.PathLike, name: str) -> dict[str, Any]:
    path = pathlib.Path(folder, name)
    try:
        content = json.loads(path.read_text())
        if isinstance(content, dict):
            return content
        reason: object = "no object"
    except (OSError, ValueError, RecursionError) as error:
        reason = error
    raise ConfigError(f"{path} cannot be read ({reason}); prepare the data set again")


class ShardedRecords:
    """The records of several ArrayRecord files as one sequence; picklable and thread-safe.

    Costs half of what Grain's and tensorflow-datasets' readers do: those set up a thread pool for
    every record and copy it twice. Files are opened when they are first read. `lengths` are the
    numbers of records in `files`.
    """

    def __init__(self, files: Sequence[str], lengths: Sequence[int]) -> None:
        self.__setstate__((list(files), list(itertools.accumulate(lengths))))

    def __getstate__(self) -> tuple[list[str], list[int]]:
        """Open files and locks stay in this process."""
        return self._files, self._ends

    def __setstate__(self, state: tuple[list[str], list[int]]) -> None:
        """Starts with all files closed."""
        self._files, self._ends = state
        self._readers: dict[int, ArrayRecordReader] = {}
        self._locks = [threading.Lock() for _ in self._files]

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> bytes:
        """One record.

        Raises:
            IndexError: Its shard has fewer records than it should.
            RuntimeError: The record or its shard is damaged or missing.
        """
        shard = bisect.bisect_right(self._ends, index)
        first = self._ends[shard - 1] if shard else 0
        with self._locks[shard]:
            reader = self._readers.get(shard)
            if reader is None:
                reader = ArrayRecordReader(self._files[shard], **_READER_OPTIONS)
                self._readers[shard] = reader
            try:
                reader.seek(index - first)
                return reader.read()
            except RuntimeError:
                # A reader that has met damage cannot be used again.
                del self._readers[shard]
                raise
