import dataclasses
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import shrunk

from data_prep import demo
from mgm_jax import measure
from mgm_jax.data.motion import flow_files
from mgm_jax.data.records import RecordSource
from mgm_jax.data.sources import FolderSource
from mgm_jax.errors import ConfigError, VideoError

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def demo_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "demo"
    demo.make_demo(folder, num_train=6, num_validation=1, seed=0)
    return folder


def recipe(path, **changes):
    return shrunk.recipe("demo_pretrain", path, data__size=64, data__host_crop_size=64, **changes)


@pytest.mark.slow
def test_motion_guides_masks_to_motion_and_to_the_boxes_of_the_demo_set(demo_set):
    config = recipe(demo_set)
    strategies = ["mgm", "mgm_sparse", "random", "random_tube"]
    measured = measure.measure(
        config, RecordSource(str(demo_set), "train"), strategies, ["codec", "median"]
    )
    assert measured.num_clips == 6
    means = {
        key: {name: np.nanmean(column) for name, column in values.items()}
        for key, values in measured.masks.items()
    }
    assert len(means) == 8
    for name in ("codec", "median"):
        for share in (measure.MOTION, measure.BOX_AREA):
            guided = [means[name, strategy][share] for strategy in ("mgm", "mgm_sparse")]
            unguided = [means[name, strategy][share] for strategy in ("random", "random_tube")]
            assert min(guided) > max(unguided)
        assert means[name, "random_tube"][measure.CONTINUITY] == 1
        sides = measured.motions[name]
        assert np.nanmean(sides["inside"]) > np.nanmean(sides["outside"])
    # The camera's pan moves what is outside the boxes.
    outside = {name: np.mean(sides["outside"]) for name, sides in measured.motions.items()}
    assert outside["median"] < outside["codec"]
    table = measure.to_markdown(config, measured)
    assert "- clips: 6\n" in table
    assert table.count("\n| codec |") == 5


def test_stored_flow_is_measured(demo_set, tmp_path):
    source = RecordSource(str(demo_set), "train")
    for index in range(len(source)):
        record = source[index]
        motion = np.zeros((len(record.boxes), 8, 8, 2), np.float16)
        for frame, box in enumerate(record.boxes):
            left, top, right, bottom = np.nan_to_num(box[0] / 8).astype(int)
            motion[frame, top : bottom + 1, left : right + 1] = (3, 4)
        flow_files.write_flow(flow_files.flow_path(tmp_path, record.video_id), motion)
    config = recipe(demo_set, data__flow_path=str(tmp_path))
    config.data.size = 32
    measured = measure.measure(config, source, ["mgm"], ["flow", "codec"], num_clips=3)
    assert measured.num_clips == 3
    # Frames of 64 pixels become 32: five pixels become two and a half.
    inside = measured.motions["flow"]["inside"]
    assert (inside > 2).all()
    assert (inside <= 2.5).all()
    assert (measured.motions["flow"]["outside"] < 0.6).all()


def test_videos_without_boxes_are_measured_without_them(video_folder):
    config = recipe(video_folder)
    measured = measure.measure(config, FolderSource(str(video_folder)), ["mgm"], ["codec"], 2)
    table = measure.to_markdown(config, measured)
    assert "box" not in table
    assert "saliency" not in table
    assert "| codec | mgm |" in table


def test_unreadable_videos_are_left_out_and_counted(video_folder, tmp_path):
    for name in ("video_00.mp4", "video_02.mp4"):
        (tmp_path / name).write_bytes((video_folder / "even" / name).read_bytes())
    (tmp_path / "video_01.mp4").write_bytes(b"no video")
    config = recipe(tmp_path)
    measured = measure.measure(config, FolderSource(str(tmp_path)), ["random"], ["codec"])
    assert measured.num_clips == 2
    assert len(measured.unread) == 1
    assert "- videos that could not be read: 1\n" in measure.to_markdown(config, measured)
    for file in tmp_path.glob("*[02].mp4"):
        file.unlink()
    with pytest.raises(VideoError, match=r"video_01"):
        measure.measure(config, FolderSource(str(tmp_path)), ["random"], ["codec"])


def test_motion_that_is_not_there_is_named(video_folder):
    source = FolderSource(str(video_folder))
    with pytest.raises(ConfigError, match="flow_path"):
        measure.measure(recipe(video_folder), source, ["mgm"], ["flow"])
    with pytest.raises(ConfigError, match=r"--motions=median.*'none'"):
        measure.measure(recipe(video_folder, data__motion="none"), source, ["mgm"], ["median"])


def test_a_clip_without_boxes_has_no_value_among_others(demo_set):
    class SomeBoxes(RecordSource):
        def __getitem__(self, index):
            record = super().__getitem__(index)
            return dataclasses.replace(record, boxes=None) if index == 1 else record

    source = SomeBoxes(str(demo_set), "train")
    measured = measure.measure(recipe(demo_set), source, ["random_tube"], ["codec"])
    without = np.arange(6) == 1
    area = measured.masks["codec", "random_tube"][measure.BOX_AREA]
    np.testing.assert_array_equal(np.isnan(area), without)
    np.testing.assert_array_equal(np.isnan(measured.motions["codec"]["inside"]), without)


@pytest.mark.slow
def test_the_command_prints_its_table_and_writes_sheets(demo_set, tmp_path):
    flags = (
        f"--config=configs/demo_pretrain.py --data_path={demo_set} --split=validation "
        "--strategies=mgm+window,random --motions=codec --num_pictures=1 "
        f"--config.data.size=32 --config.data.clip_frames=8 --out={tmp_path / 'out'}"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mgm_jax.measure", *flags.split()],
        cwd=REPOSITORY,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    table = (tmp_path / "out" / "measures.md").read_text()
    assert table in done.stdout
    assert "| codec | mgm+window |" in table
    files = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert files == ["masks_clip0.png", "masks_clip0.webp", "measures.md"]
