import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_prep.records import UNLABELLED, write_records

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


def test_records_are_read_back_by_tfds_in_order(tmp_path):
    written = {"train": [record(i) for i in range(70)], "validation": [record(100)]}
    counts = write_records(
        tmp_path / "set",
        "toy",
        CLASSES,
        {split: iter(rows) for split, rows in written.items()},
        description="A toy.",
        metadata={"seed": 3},
        records_per_shard=30,
    )
    assert counts == {"train": 70, "validation": 1}
    assert files(tmp_path) == ["set"]
    assert files(tmp_path / "set") == [
        "dataset_info.json",
        "features.json",
        "label.labels.txt",
        "metadata.json",
        *(f"toy-train.array_record-{shard:05d}" for shard in range(3)),
        "toy-validation.array_record-00000",
    ]
    builder = tfds.builder_from_directory(tmp_path / "set")
    assert builder.info.features["label"].names == list(CLASSES)
    assert builder.info.description == "A toy."
    assert json.loads((tmp_path / "set" / "metadata.json").read_text()) == {"seed": 3}
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


def test_what_is_not_known_can_be_left_open(tmp_path):
    nothing = record(0, label=UNLABELLED, boxes=np.zeros((0, 4)), profile="", encoder="")
    hidden = record(1, boxes=np.full((6, 4), np.nan), label=np.int32(UNLABELLED))
    write_records(tmp_path / "set", "toy", (), {"train": [nothing, hidden]})
    first, second = read(tmp_path / "set", "train")
    assert (first["label"], first["profile"], first["boxes"].shape) == (UNLABELLED, b"", (0, 4))
    assert second["boxes"].shape == (6, 4)
    assert np.isnan(second["boxes"]).all()


def test_a_source_is_small_to_pickle_and_reads_on_the_other_side(tmp_path):
    write_records(
        tmp_path / "set", "toy", CLASSES, {"train": [record(i, video=bytes(9999)) for i in (0, 1)]}
    )
    pickled = pickle.dumps(read(tmp_path / "set", "train"))
    assert len(pickled) < 10_000
    assert pickle.loads(pickled)[1]["video_id"].decode() == record(1)["video_id"]


def test_writing_and_reading_need_no_tensorflow(tmp_path):
    code = f"""
        import sys
        from data_prep.records import write_records
        import tensorflow_datasets as tfds
        import numpy as np
        row = dict(video=b"v", video_id="a", label=0, fps=25.0, num_frames=1, height=2, width=2,
                   profile="", encoder="", boxes=np.zeros((0, 4), np.float32))
        write_records({str(tmp_path / "set")!r}, "toy", ["x"], {{"train": [row]}})
        source = tfds.builder_from_directory({str(tmp_path / "set")!r}).as_data_source("train")
        assert source[0]["video"] == b"v"
        assert "tensorflow" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video_id": "clip é 0"}, "clip é 0.*already written"),
        ({"label": 2}, "label 2 is not one of the 2 classes"),
        ({"label": -2}, "label -2"),
        ({"video": b""}, "not empty"),
        ({"video": "path.mp4"}, "bytes of a file"),
        ({"boxes": np.zeros((4, 4))}, r"boxes of shape \(4, 4\) for 3 frames"),
        ({"boxes": np.zeros((3, 1, 4))}, "num_frames \\* objects"),
        ({"num_frames": 0}, "for 0 frames"),
        ({"colour": "red"}, r"unknown fields \['colour'\]"),
    ],
)
def test_bad_records_are_named_and_leave_nothing(tmp_path, changes, message):
    rows = [record(0), record(1, **changes)]
    with pytest.raises(ValueError, match=message) as error:
        write_records(tmp_path / "set", "toy", CLASSES, {"train": rows})
    assert "of split 'train'" in str(error.value)
    assert files(tmp_path) == []


def test_ids_are_unique_over_the_splits_too(tmp_path):
    with pytest.raises(ValueError, match=r"of split 'test'.*already written"):
        write_records(tmp_path / "set", "toy", CLASSES, {"train": [record(0)], "test": [record(0)]})


def test_a_missing_field_is_named(tmp_path):
    row = record(0)
    del row["fps"]
    with pytest.raises(ValueError, match=r"missing fields \['fps'\]"):
        write_records(tmp_path / "set", "toy", CLASSES, {"train": [row]})


@pytest.mark.parametrize(
    ("name", "splits", "message"),
    [
        ("toy", {}, "no splits"),
        ("toy", {"train": []}, "split 'train' .*no records"),
        ("toy", {"all": [record(0)]}, "named 'all'"),
        ("toy", {"Train-1": [record(0)]}, "'Train-1' cannot name"),
        ("my set", {"train": [record(0)]}, "'my set' cannot name"),
    ],
)
def test_sets_that_could_not_be_read_are_refused(tmp_path, name, splits, message):
    with pytest.raises(ValueError, match=message):
        write_records(tmp_path / "set", name, CLASSES, splits)
    assert files(tmp_path) == []


def test_what_is_there_is_replaced_on_purpose_only_and_whole(tmp_path):
    directory = tmp_path / "set"
    write_records(directory, "toy", CLASSES, {"train": [record(0)]})
    with pytest.raises(FileExistsError, match="not empty"):
        write_records(directory, "toy", CLASSES, {"train": [record(1)]})
    with pytest.raises(ValueError, match="label 9"):
        write_records(directory, "toy", CLASSES, {"train": [record(1, label=9)]}, overwrite=True)
    assert read(directory, "train")[0]["video_id"].decode() == record(0)["video_id"]
    write_records(directory, "other", CLASSES, {"test": [record(1)]}, overwrite=True)
    assert read(directory, "test")[0]["video_id"].decode() == record(1)["video_id"]
    assert not [name for name in files(directory) if name.startswith("toy")]
    assert files(tmp_path) == ["set"]


def test_an_empty_directory_will_do_and_a_file_will_not(tmp_path):
    (tmp_path / "empty" / "set").mkdir(parents=True)
    write_records(tmp_path / "empty" / "set", "toy", CLASSES, {"train": [record(0)]})
    assert len(read(tmp_path / "empty" / "set", "train")) == 1
    (tmp_path / "file").write_text("notes")
    with pytest.raises(FileExistsError, match="is a file"):
        write_records(tmp_path / "file", "toy", CLASSES, {"train": [record(0)]}, overwrite=True)
    assert (tmp_path / "file").read_text() == "notes"


def test_a_killed_writer_leaves_no_dataset(tmp_path):
    directory = tmp_path / "set"
    code = f"""
        import itertools, time
        import numpy as np
        from data_prep.records import write_records
        def rows():
            for i in itertools.count():
                if i == 100:
                    print("writing", flush=True)
                    time.sleep(60)
                yield dict(video=bytes(1000), video_id=str(i), label=0, fps=25.0, num_frames=1,
                           height=2, width=2, profile="", encoder="",
                           boxes=np.zeros((0, 4), np.float32))
        write_records({str(directory)!r}, "toy", ["x"], {{"train": rows()}}, records_per_shard=20)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"writing\n"
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not directory.exists()
    (left_over,) = files(tmp_path)
    assert left_over.startswith(".set.incomplete-")
    start = time.monotonic()
    write_records(directory, "toy", CLASSES, {"train": [record(0)]})
    assert time.monotonic() - start < 30
    assert len(read(directory, "train")) == 1
