import json
import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_prep.records import UNLABELLED, write_records

CLASSES = ("moving something left", "turning something clockwise")
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


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
    write_records(tmp_path / "set", "toy", CLASSES, written, **more)
    assert files(tmp_path) == ["set"]
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
    nothing = record(0, label=UNLABELLED, boxes=np.zeros((0, 4)), profile="", encoder="")
    hidden = record(1, boxes=np.full((6, 4), np.nan), label=np.int32(UNLABELLED))
    write_records(tmp_path / "set", "toy", (), {"train": [nothing, hidden]})
    first, second = read(tmp_path / "set", "train")
    assert (first["label"], first["profile"], first["boxes"].shape) == (UNLABELLED, b"", (0, 4))
    assert np.isnan(second["boxes"].reshape(3, 2, 4)).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video_id": "clip é 0"}, "clip é 0"),
        ({"label": 2}, "label 2"),
        ({"video": b""}, "not empty"),
        ({"video": "path.mp4"}, "bytes"),
        ({"boxes": np.zeros((4, 4))}, r"\(4, 4\) for 3 frames"),
        ({"num_frames": 0}, "0 frames"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_invalid_records_are_named_and_leave_nothing(tmp_path, changes, message):
    rows = [record(0), record(1, **changes)]
    with pytest.raises(ValueError, match=message) as error:
        write_records(tmp_path / "set", "toy", CLASSES, {"train": rows})
    assert "of split 'train'" in str(error.value)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "splits", "message"),
    [
        ("toy", {"train": []}, "'train'"),
        ("toy", {"train": [{"video_id": "a"}]}, "'boxes'"),
        ("toy", {"all": [record(0)]}, "'all'"),
        ("toy", {"Train-1": [record(0)]}, "'Train-1'"),
        ("my set", {"train": [record(0)]}, "'my set'"),
        ("toy", {"train": [record(0)], "test": [record(0)]}, "of split 'test'"),
    ],
)
def test_invalid_datasets_are_refused(tmp_path, name, splits, message):
    with pytest.raises(ValueError, match=message):
        write_records(tmp_path / "set", name, CLASSES, splits)
    assert files(tmp_path) == []


def test_an_empty_folder_is_used_and_nothing_is_overwritten(tmp_path):
    directory = tmp_path / "deep" / "set"
    directory.mkdir(parents=True)
    write_records(directory, "toy", CLASSES, {"train": [record(0)]})
    (tmp_path / "file").write_text("notes")
    for path in (directory, tmp_path / "file"):
        with pytest.raises(FileExistsError, match=path.name):
            write_records(path, "toy", CLASSES, {"train": [record(1)]})
    assert read(directory, "train")[0]["video_id"].decode() == record(0)["video_id"]


def test_a_killed_writer_leaves_no_dataset(tmp_path):
    """Also, neither writing nor reading loads TensorFlow."""
    directory = tmp_path / "set"
    code = f"""
        import itertools, sys, time
        from tests.data_prep.test_records import CLASSES, read, record, write_records
        def rows():
            for index in itertools.count():
                if index == 100:
                    print("writing", flush=True)
                    time.sleep(60)
                yield record(index)
        write_records({str(tmp_path / "one")!r}, "toy", CLASSES, {{"train": [record(0)]}})
        assert read({str(tmp_path / "one")!r}, "train")[0]["video"] == record(0)["video"]
        assert "tensorflow" not in sys.modules
        write_records({str(directory)!r}, "toy", CLASSES, {{"train": rows()}}, records_per_shard=20)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=REPOSITORY, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"writing\n"
        process.kill()
    assert not directory.exists()
    write_records(directory, "toy", CLASSES, {"train": [record(0)]})
    assert len(read(directory, "train")) == 1
