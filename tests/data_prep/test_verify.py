import numpy as np
import pytest
import rendered
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.proto import tf_example_pb2

from data_prep.verify import verify
from mgm_jax.errors import ConfigError
from tests.data_prep import test_records


def record(video, name, label, **changes):
    changes = {"height": 144, "width": 176, "num_frames": 20, **changes}
    boxes = np.zeros((0, 4), np.float32)
    return test_records.record(0, video=video, video_id=name, label=label, boxes=boxes, **changes)


def write(directory, rows, **splits):
    return rendered.write_records(directory, ("clap", "wave", "jump"), {"train": rows, **splits})


def test_a_good_dataset(low_delay_video, tmp_path):
    rows = [record(low_delay_video, str(i), i % 2) for i in range(5)]
    text, faults = verify(write(tmp_path / "set", rows), 2)
    assert faults == []
    assert "train: 5 records" in text
    assert "5 low_delay; 20 to 20 frames, median 20" in text
    assert "   1 wave                                           2" in text
    assert "no record of 1 classes: jump" in text
    assert "of 2 decoded: 95.0% of the frames have motion vectors" in text


def test_faults_are_named(low_delay_video, tmp_path):
    rows = [record(low_delay_video, "a", 0, num_frames=19), record(low_delay_video[:500], "b", 1)]
    directory = write(tmp_path / "set", rows, test=[record(low_delay_video, "c", -1, profile="")])
    text, faults = verify(directory, 9)
    assert "(no class)" in text
    assert "1 copied" in text
    wrong, damaged = faults
    assert wrong == "train: a: num_frames is 20, the record says 19"
    assert damaged.startswith("train: b: b: it cannot be opened")


def test_damaged_shards_and_repeated_ids_are_named(low_delay_video, tmp_path):
    rows = [record(low_delay_video, str(i), 0) for i in range(4)]
    directory = write(tmp_path / "set", rows, test=[record(low_delay_video, "a", 0)])
    (train,) = directory.glob("*train.array_record*")
    (test,) = directory.glob("*test.array_record*")
    data = train.read_bytes()
    test.write_bytes(data)
    third = len(data) // 3
    train.write_bytes(data[:third] + bytes(64) + data[third + 64 :])
    faults = "\n".join(verify(directory, 1)[1])
    assert "test: 0 is also in train" in faults
    assert "cannot be read" in faults


RECORD = "*train.array_record*"


def shard_of(*contents):
    def write_shard(path):
        writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
        for content in contents:
            writer.write(content)
        writer.close()

    return write_shard


def example(**changes):
    """A serialized record whose fields have other values; None leaves one out."""
    fields = {"video": b"no video", "video_id": b"0", "profile": b"", "encoder": b""}
    fields |= {"label": 0, "num_frames": 20, "height": 144, "width": 176, "fps": 25.0} | changes
    made = tf_example_pb2.Example()
    for name, value in fields.items():
        kind = {bytes: "bytes_list", int: "int64_list", float: "float_list"}.get(type(value))
        if kind:
            getattr(made.features.feature[name], kind).value.append(value)
    return made.SerializeToString()


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        (RECORD, lambda path: path.unlink()),
        (RECORD, lambda path: path.write_bytes(b"")),
        (RECORD, lambda path: path.write_bytes(path.read_bytes()[:-9000])),
        (RECORD, shard_of(b"no record", b"")),
        (RECORD, shard_of(example(video_id=None), example())),
        (RECORD, shard_of(example(video_id=b"\xff"), example(label=2.5))),
        (RECORD, shard_of(example(profile=b"fast:0"), example(num_frames=-1))),
        ("dataset_info.json", lambda path: path.write_text("{}")),
        ("dataset_info.json", lambda path: path.write_text("[" * 9000)),
        ("features.json", lambda path: path.write_text("null")),
        ("features.json", lambda path: path.unlink()),
        ("label.labels.txt", lambda path: path.unlink()),
        ("videos.json", lambda path: path.write_text('{"train": [["0"]]}')),
    ],
)
def test_damage_of_any_kind_is_wrong_and_never_a_traceback(low_delay_video, tmp_path, file, damage):
    rows = [record(low_delay_video, str(i), 0, profile="") for i in range(2)]
    directory = write(tmp_path / "set", rows, test=[record(low_delay_video, "a", 0, profile="")])
    assert not verify(directory, 2)[1]
    damage(next(directory.glob(file), directory / file))
    assert verify(directory, 2)[1]


def test_the_command_line(low_delay_video, tmp_path, command):
    good = command("verify", write(tmp_path / "good", [record(low_delay_video, "a", 0)]))
    assert (good.returncode, "all is well" in good.stdout) == (0, True), good.stderr
    bad = write(tmp_path / "bad", [record(low_delay_video, "a", 0, height=2)])
    wrong = command("verify", bad)
    assert wrong.returncode == 1
    assert "WRONG: train: a: height is 144, the record says 2" in wrong.stdout
    with pytest.raises(ConfigError, match="dataset_info"):
        verify(tmp_path, 1)
