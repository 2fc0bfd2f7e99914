import json
import pickle
import shutil

import numpy as np
import pytest

from data_prep import demo, demo_scenes
from mgm_jax.data.record_source import RecordSource
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
    assert record.video_id == "train_000001"
    assert record.label == 1
    assert record.video[4:8] == b"ftyp"
    assert record.profile == "low_delay"
    assert record.boxes.shape[1:] == (1, 4)
    assert 0 <= np.nanmin(record.boxes) < np.nanmax(record.boxes) <= 128
    assert "train" in source.describe(1)
    assert pickle.loads(pickle.dumps(source))[1] == record
    with pytest.raises(ConfigError, match="no split 'test'; it has train, validation"):
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
    with pytest.raises(VideoError, match=r"record 1: the record cannot be read"):
        damaged[1]
    assert damaged[0] == source[0]
    assert damaged[2] == source[2]


def test_records_of_other_fields_are_refused(prepared, tmp_path):
    folder = shutil.copytree(prepared, tmp_path / "other")
    features = json.loads((folder / "features.json").read_text())
    del features["featuresDict"]["features"]["profile"]
    (folder / "features.json").write_text(json.dumps(features))
    with pytest.raises(ConfigError, match=r"records of .* have no profile; prepare the dataset"):
        RecordSource(str(folder), "train")
