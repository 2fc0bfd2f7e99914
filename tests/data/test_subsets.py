import re

import pytest
import tensorflow_datasets as tfds

from data_prep import demo
from mgm_jax.data.sources import make_source
from mgm_jax.errors import ConfigError


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "demo"
    demo.make_demo(folder, num_train=26, num_validation=1, seed=0)
    return folder


@pytest.mark.parametrize(
    "split",
    ["train[:13]", "train[50%:]", "train[-14:-1]", "train[5%:99%]", "train[10:]"],
)
def test_slices_are_those_of_tensorflow_datasets(prepared, split):
    expected = tfds.builder_from_directory(prepared).as_data_source(split)
    source = make_source("records", str(prepared), split)
    ids = [row["video_id"].decode() for row in expected]
    assert [source[index].video_id for index in range(len(source))] == ids
    assert [video.name for video in source.facts()] == ids


@pytest.mark.parametrize(
    "split",
    [
        *("train[:0]", "train[30:]", "train[:11]", "train[90%:]", "train[5:99%]", "train[:27]"),
        *("train[-27:]", "train[:101%]", "train[-1%:]"),
    ],
)
def test_slices_that_lack_classes_or_mix_units_are_refused(prepared, split):
    with pytest.raises(ConfigError) as caught:
        make_source("records", str(prepared), split)
    assert f"config.data.split={split}" in str(caught.value)


@pytest.mark.parametrize(
    "split",
    [
        *("train[:0.5]", "train[:50 %]", "train[::2]", "train[:4] ", "train[:4"),
        *("train[:4]+train[8:]", "train[4]"),
    ],
)
@pytest.mark.parametrize("kind", ["folder", "records"])
def test_what_is_no_slice_is_refused(prepared, video_folder, kind, split):
    path = prepared if kind == "records" else video_folder
    with pytest.raises(ConfigError, match=re.escape(f"{split!r} is neither a split nor a slice")):
        make_source(kind, str(path), split)


def test_lists_have_slices_too(tmp_path, video_folder):
    paths = sorted(video_folder.rglob("*.mp4"))
    order = paths[::2] + paths[1::2]
    rows = [f"{path},{path.parent.name},test" for path in order]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    source = make_source("csv", str(tmp_path / "list.csv"), "test[:50%]")
    assert [source[index].video_id for index in range(len(source))] == [
        str(path) for path in order[:6]
    ]
