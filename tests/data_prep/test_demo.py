import io

import av
import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_prep import demo
from data_prep.demo_scenes import CLASS_NAMES, render_clip
from data_prep.entries import Entry
from data_prep.transcode import encoder_version
from mgm_jax.errors import ConfigError


def read(directory, split):
    return list(tfds.builder_from_directory(directory).as_data_source(split))


def decode(video, format):
    with av.open(io.BytesIO(video)) as container:
        return np.stack([frame.to_ndarray(format=format) for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    directory = tmp_path_factory.mktemp("demo") / "set"
    assert demo.make_demo(directory, num_train=17, num_validation=3, seed=5)
    return directory


def test_records_hold_the_rendered_clips(small_set):
    for split, count in (("train", 17), ("validation", 3)):
        rows = read(small_set, split)
        assert len(rows) == count
        for index, row in enumerate(rows):
            clip = render_clip(5, split, index)
            assert row["video_id"].decode() == f"{split}_g{index // 12:04d}_{index % 12:02d}"
            assert row["label"] == clip.label == index % len(CLASS_NAMES)
            assert row["num_frames"] == len(clip.frames)
            assert (row["height"], row["width"], row["fps"]) == (64, 64, 25.0)
            assert row["profile"] == b"low_delay"
            assert row["encoder"].decode() == encoder_version()
            boxes = row["boxes"].reshape(row["num_frames"], -1, 4)
            np.testing.assert_array_equal(boxes, clip.boxes)
            luma = decode(row["video"], "yuv420p")[:, :64].astype(float)
            expected = 16 + clip.frames @ [0.299, 0.587, 0.114] * 219 / 255
            assert np.abs(luma - expected).mean() < 3
    names = tfds.builder_from_directory(small_set).info.features["label"].names
    assert tuple(names) == CLASS_NAMES


@pytest.mark.parametrize(
    "settings",
    [{"num_train": 0}, {"num_validation": 0}, {"seed": -1}, {"workers": -1}, {"profile": "hevc"}],
)
def test_invalid_settings_are_named(tmp_path, settings):
    ((name, value),) = settings.items()
    with pytest.raises(ConfigError, match=f"{name}.*{value}"):
        demo.make_demo(tmp_path / "set", **settings)
    assert not (tmp_path / "set").exists()


@pytest.mark.slow
def test_the_command_line(tmp_path, command):
    more = (f"--out={tmp_path / 'set'}", "--num_validation=1", "--profile=stride_aligned:2")
    done = command("demo", "--num_train=2", "--workers=1", *more)
    assert done.returncode == 0
    assert [row["profile"] for row in read(tmp_path / "set", "train")] == [b"stride_aligned:2"] * 2
    refused = command("demo", "--num_train=3", *more)
    assert refused.returncode == 1
    assert "num_train: 2 -> 3" in refused.stderr


@pytest.mark.slow
def test_a_domain_shift_gives_grey_negatives_of_half_the_classes(tmp_path):
    entry = Entry("train_g0000_03", "train", 3, "3")
    settings = {"seed": 5, "profile": "low_delay"}
    same, plain = (demo.render("", entry, **settings, domain_shift=b) for b in (True, False))
    assert same.video == plain.video
    demo.make_demo(tmp_path / "set", num_train=1, num_validation=6, seed=5, domain_shift=True)
    rows = read(tmp_path / "set", "validation")
    assert {row["label"] for row in rows} == set(range(0, 12, 2))
    shown = decode(rows[1]["video"], "rgb24").astype(np.float32)
    original = render_clip(5, "validation", 2).frames @ np.array([0.299, 0.587, 0.114])
    assert np.ptp(shown, axis=-1).max() < 12
    assert np.abs(shown.mean(axis=-1) - (255 - original)).mean() < 6
