import pathlib
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rendered
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from data_prep import demo, demo_scenes
from mgm_jax.data.records import RecordSource, ShardedRecords
from mgm_jax.data.sources import make_source
from mgm_jax.errors import ConfigError, VideoError


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "demo"
    demo.make_demo(folder, num_train=3, num_validation=1, seed=0)
    return folder


def test_prepared_records_are_read_by_split(prepared):
    source = make_source("records", str(prepared), "train")
    assert len(source) == 3
    assert source.class_names == demo_scenes.CLASS_NAMES
    record = source[1]
    assert record.video_id == "train_g0000_01"
    assert record.label == 1
    assert record.video[4:8] == b"ftyp"
    assert record.profile == "low_delay"
    assert record.boxes.shape[2:] == (4,)
    assert 0 <= np.nanmin(record.boxes) < np.nanmax(record.boxes) <= 64
    assert "train" in source.describe(1)
    assert pickle.loads(pickle.dumps(source))[1] == record
    with pytest.raises(ConfigError, match=r"config\.data\.split.*train, validation"):
        make_source("records", str(prepared), "test")


def test_a_damaged_record_is_a_video_error_and_its_neighbours_are_read(prepared, tmp_path):
    folder = shutil.copytree(prepared, tmp_path / "damaged")
    shard = next(folder.glob("*train*array_record*"))
    data = bytearray(shard.read_bytes())
    source = RecordSource(str(prepared), "train")
    start = data.find(source[1].video[1000:1100])
    assert start > 0
    data[start : start + 64] = bytes(64)
    shard.write_bytes(data)
    damaged = RecordSource(str(folder), "train")
    with pytest.raises(VideoError, match=r"record 1.*prepare its shard again"):
        damaged[1]
    assert damaged[0] == source[0]
    assert damaged[2] == source[2]


def test_reading_one_record_reads_no_others(tmp_path):
    path, size = tmp_path / "shard", 100_000
    writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
    for number in range(60):
        writer.write(bytes([number]) * size)
    writer.close()
    records = ShardedRecords([str(path)], [60])
    assert records[7] == bytes([7]) * size  # Also reads the index of the file.
    counters = pathlib.Path("/proc/self/io")
    before = int(counters.read_text().split()[1])
    for number in (30, 11, 52):
        assert records[number] == bytes([number]) * size
    assert int(counters.read_text().split()[1]) - before < 3 * 2 * size


def test_records_of_an_earlier_version_or_another_program_are_refused(prepared, tmp_path):
    folder = shutil.copytree(prepared, tmp_path / "other")
    (folder / "videos.json").unlink()
    with pytest.raises(ConfigError, match=r"config\.data\.path.*earlier version.*prepare it again"):
        RecordSource(str(folder), "train")
    (folder / "videos.json").write_text("{}")
    (folder / "metadata.json").write_text("[")
    with pytest.raises(ConfigError, match=r"metadata\.json cannot be read.*prepare"):
        make_source("records", str(folder), "train")


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    rows = {str(i): bytes([i]) * 1000 * (i + 1) for i in range(5)}
    folder = tmp_path_factory.mktemp("records") / "records"
    return rendered.write_record_folder(folder, rows, records_per_shard=2)


def shards_of(folder):
    split = tfds.builder_from_directory(str(folder)).info.splits["train"]
    assert split.shard_lengths == [2, 2, 1]
    return ShardedRecords([str(file) for file in split.filepaths], split.shard_lengths)


def test_gives_the_bytes_that_tensorflow_datasets_reads(sharded):
    shards = shards_of(sharded)
    theirs = tfds.builder_from_directory(str(sharded)).as_data_source("train").data_source
    assert len(shards) == len(theirs) == 5
    assert [shards[i] for i in (4, 0, 3, 1, 2, 4)] == [theirs[i] for i in (4, 0, 3, 1, 2, 4)]
    assert pickle.loads(pickle.dumps(shards))[2] == theirs[2]


def test_threads_do_not_get_each_others_records(sharded):
    shards = shards_of(sharded)
    expected = [shards[i] for i in range(5)]
    order = np.random.default_rng(0).integers(0, 5, 2000).tolist()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(shards.__getitem__, order)) == [expected[i] for i in order]
