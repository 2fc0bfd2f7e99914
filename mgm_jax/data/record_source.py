"""Videos of datasets that data_prep has prepared."""

import os

import numpy as np

from mgm_jax.data.record_shards import RecordShards
from mgm_jax.data.video_records import VideoRecord
from mgm_jax.errors import ConfigError, VideoError

# What is read of a prepared record.
_FIELDS = ("video", "video_id", "label", "num_frames", "boxes", "profile")


class RecordSource:
    """A split of a prepared tensorflow-datasets dataset in ArrayRecord files."""

    def __init__(self, folder: str, split: str):
        import tensorflow_datasets as tfds

        if not os.path.exists(os.path.join(folder, "dataset_info.json")):
            raise ConfigError(
                f"config.data.path: no prepared dataset at {os.path.abspath(folder)} (it has no "
                "dataset_info.json); prepare one with data_prep, or read the video files as they "
                "are with --config.data.source=folder"
            )
        builder = tfds.builder_from_directory(folder)
        if split not in builder.info.splits:
            raise ConfigError(
                f"config.data.split: {folder} has no split {split!r}; "
                f"it has {', '.join(builder.info.splits)}"
            )
        self._name = f"{folder}[{split}]"
        info = builder.info.splits[split]
        self._records = RecordShards([str(file) for file in info.filepaths], info.shard_lengths)
        features = builder.info.features
        missing = [name for name in _FIELDS if name not in features]
        if missing:
            raise ConfigError(
                f"config.data.path: the records of {folder} have no {', '.join(missing)}; prepare "
                "the dataset with data_prep"
            )
        self.class_names = tuple(features["label"].names)

    def __len__(self) -> int:
        """Number of records in the split."""
        return len(self._records)

    def __getitem__(self, index: int) -> VideoRecord:
        """The record at a position; raises `VideoError` where it is damaged."""
        from tensorflow_datasets.proto import tf_example_pb2

        try:
            record = self._records[index]
        except (RuntimeError, IndexError) as error:
            raise VideoError(
                f"{self.describe(index)}: the record cannot be read ({error}); prepare its shard "
                "again"
            ) from error
        # tfds' own reading of the features takes several times as long.
        fields = tf_example_pb2.Example.FromString(record).features.feature
        boxes = np.array(fields["boxes"].float_list.value, np.float32)
        (num_frames,) = fields["num_frames"].int64_list.value
        return VideoRecord(
            video=fields["video"].bytes_list.value[0],
            video_id=fields["video_id"].bytes_list.value[0].decode(),
            label=fields["label"].int64_list.value[0],
            boxes=boxes.reshape(num_frames, -1, 4) if len(boxes) else None,
            profile=fields["profile"].bytes_list.value[0].decode(),
        )

    def describe(self, index: int) -> str:
        """Dataset, split and position of the record."""
        return f"{self._name} record {index}"
