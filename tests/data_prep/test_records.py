import json
import resource

import numpy as np
import pytest
import rendered
import tensorflow_datasets as tfds

from data_prep.entries import UNLABELLED
from data_prep.records import check_names
from mgm_jax.errors import ConfigError, WriteError

CLASSES = ("moving something left", "turning something clockwise")


def record(index, **changes):
    frames = 3
    return {
        "video": bytes([index % 256, 0, 255, 0]) * 10,
        "video_id": f"clip é {index}",
        "label": index % len(CLASSES),
        "fps": 25.0,
        "num_frames": frames,
        "height": 128,
        "width": 96,
        "profile": "low_delay",
        "encoder": "libx264",
        "boxes": np.arange(frames * 4, dtype=np.float32).reshape(frames, 4) + index,
        **changes,
    }


def read(directory, split):
    return tfds.builder_from_directory(directory).as_data_source(split)


def files(directory):
    return sorted(path.name for path in directory.iterdir())


def test_tfds_reads_the_records_in_order(tmp_path):
    written = {"train": [record(i) for i in range(70)], "validation": [record(100)]}
    more = {"description": "A toy.", "metadata": {"seed": 3}, "records_per_shard": 30}
    rendered.write_records(tmp_path / "set", CLASSES, written, **more)
    shards = [f"toy-train.array_record-{shard:05d}" for shard in range(3)]
    assert files(tmp_path / "set") == [
        *("dataset_info.json", "features.json", "label.labels.txt", "metadata.json", *shards),
        *("toy-validation.array_record-00000", "videos.json"),
    ]
    builder = tfds.builder_from_directory(tmp_path / "set")
    assert builder.info.features["label"].names == list(CLASSES)
    assert builder.info.description == "A toy."
    assert json.loads((tmp_path / "set" / "metadata.json").read_text())["seed"] == 3
    for split, rows in written.items():
        source = builder.as_data_source(split)
        assert len(source) == len(rows)
        for got, given in zip(source, rows, strict=True):
            assert got.keys() == given.keys()
            np.testing.assert_array_equal(got.pop("boxes"), given["boxes"])
            for key, value in got.items():
                expected = given[key].encode() if isinstance(given[key], str) else given[key]
                assert value == expected
                assert type(value) is type(expected)


def test_unknown_labels_and_boxes(tmp_path):
    nothing = record(
        0, label=UNLABELLED, boxes=np.zeros((0, 4), np.float32), profile="", encoder=""
    )
    hidden = record(1, boxes=np.full((6, 4), np.nan, np.float32), label=UNLABELLED)
    rendered.write_records(tmp_path / "set", (), {"train": [nothing, hidden]})
    first, second = read(tmp_path / "set", "train")
    assert (first["label"], first["profile"], first["boxes"].shape) == (UNLABELLED, b"", (0, 4))
    assert np.isnan(second["boxes"].reshape(3, 2, 4)).all()


def test_a_label_of_no_class_is_named_and_leaves_nothing(tmp_path):
    rows = [record(0), record(1, label=2)]
    with pytest.raises(ValueError, match="record 'clip é 1' of split 'train': label 2"):
        rendered.write_records(tmp_path / "set", CLASSES, {"train": rows})
    assert files(tmp_path / "set") == []


def test_a_full_disk_is_named_with_what_helps_and_leaves_nothing(tmp_path):
    rows = [record(number, video=bytes(1000_000)) for number in range(3)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500_000, hard))
    try:
        with pytest.raises(WriteError, match=r"train\.array_record-00000 cannot .*Free space"):
            rendered.write_records(tmp_path / "set", CLASSES, {"train": rows})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files(tmp_path / "set") == []


@pytest.mark.parametrize("name", ["all", "Train-1", "my set"])
def test_names_that_tfds_does_not_take_are_refused(name):
    with pytest.raises(ConfigError, match=f"'{name}' cannot name a dataset or a split"):
        check_names("toy", {name})
