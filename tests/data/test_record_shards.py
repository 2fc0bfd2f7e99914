import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_prep import records
from mgm_jax.data.record_shards import RecordShards


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    facts = {"label": 0, "fps": 25.0, "num_frames": 40, "height": 64, "width": 80}
    facts |= {"profile": "low_delay", "encoder": "", "boxes": np.zeros((0, 4), np.float32)}
    rows = [facts | {"video": bytes([i]) * 1000 * (i + 1), "video_id": str(i)} for i in range(5)]
    folder = tmp_path_factory.mktemp("records") / "records"
    records.write_records(folder, "records", ["one"], {"train": rows}, records_per_shard=2)
    return folder


def shards_of(folder):
    split = tfds.builder_from_directory(str(folder)).info.splits["train"]
    assert split.shard_lengths == [2, 2, 1]
    return RecordShards([str(file) for file in split.filepaths], split.shard_lengths)


def test_gives_the_bytes_that_tensorflow_datasets_reads(prepared):
    shards = shards_of(prepared)
    theirs = tfds.builder_from_directory(str(prepared)).as_data_source("train").data_source
    assert len(shards) == len(theirs) == 5
    assert [shards[i] for i in (4, 0, 3, 1, 2, 4)] == [theirs[i] for i in (4, 0, 3, 1, 2, 4)]
    assert pickle.loads(pickle.dumps(shards))[2] == theirs[2]
    for index in (-1, 5):
        with pytest.raises(IndexError, match=f"record {index} of 5"):
            shards[index]


def test_threads_do_not_get_each_others_records(prepared):
    shards = shards_of(prepared)
    expected = [shards[i] for i in range(5)]
    order = np.random.default_rng(0).integers(0, 5, 2000).tolist()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(shards.__getitem__, order)) == [expected[i] for i in order]


def test_a_damaged_shard_is_read_again_once_it_is_mended(prepared, tmp_path):
    folder = shutil.copytree(prepared, tmp_path / "damaged")
    shard = sorted(folder.glob("*array_record*"))[1]
    whole = shard.read_bytes()
    shard.write_bytes(whole[:100])
    shards = shards_of(folder)
    with pytest.raises(RuntimeError):
        shards[2]
    shards[0]
    shard.write_bytes(whole)
    assert shards[2] == shards_of(prepared)[2]


def test_a_shard_with_too_few_records_is_an_error(prepared, tmp_path):
    folder = shutil.copytree(prepared, tmp_path / "short")
    first, _, last = sorted(folder.glob("*array_record*"))
    shutil.copy(last, first)
    with pytest.raises(IndexError):
        shards_of(folder)[1]
