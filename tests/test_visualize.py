import shutil

import numpy as np
import pytest
import rendered
import shrunk
from PIL import Image

from data_prep import demo
from mgm_jax.data.sources import FolderSource
from mgm_jax.errors import CheckpointError, ConfigError, VideoError
from mgm_jax.models import mae
from mgm_jax.pictures import mask_overlays
from mgm_jax.pictures.gallery import Gallery, mask_clips
from mgm_jax.train import train
from mgm_jax.training.runs import read_config
from mgm_jax.visualize import show_run, show_strategies


@pytest.fixture(scope="module")
def run(video_folder, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    config = shrunk.recipe(
        "demo_pretrain", video_folder, norm_pix_loss=True, pictures_every=2, num_pictures=2
    )
    train(config, str(workdir))
    return workdir


def test_sheets_and_animations_of_the_last_checkpoint(run, tmp_path):
    config = read_config(run)
    files = show_run(config, run, tmp_path / "pictures", leaky=True)
    assert [file.name for file in files] == [
        "step0000002_clip0.png",
        "step0000002_clip0.gif",
        "step0000002_clip1.png",
        "step0000002_clip1.gif",
    ]
    sheet = np.asarray(Image.open(files[0]))
    assert sheet.std() > 20
    assert Image.open(files[1]).n_frames == 8
    shorter = show_run(config, run, tmp_path / "without")[0]
    assert Image.open(shorter).height < sheet.shape[0]


def test_other_data_can_be_shown(run, tmp_path):
    folder = rendered.write_folder(tmp_path / "videos", num_videos=1)
    config = read_config(run)
    config.data.path = str(folder)
    assert len(show_run(config, run, tmp_path / "out")) == 2


def test_a_folder_without_a_run_is_named(run, tmp_path):
    with pytest.raises(CheckpointError, match=r"no run at .*config\.json"):
        read_config(tmp_path)
    shutil.copy(run / "config.json", tmp_path)
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        show_run(read_config(tmp_path), tmp_path, tmp_path)


def test_training_shows_sheets_in_tensorboard(run):
    events = b"".join(file.read_bytes() for file in (run / "tensorboard").glob("events*"))
    assert b"reconstruction/0" in events
    assert b"reconstruction/1" in events


def test_unreadable_videos_are_named_when_none_is_left(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    config = shrunk.recipe("demo_pretrain", tmp_path)
    model = mae.make_autoencoder(config)
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        Gallery(config, model, FolderSource(str(tmp_path)))


def test_masks_of_all_strategies_need_no_checkpoint(video_folder, tmp_path):
    config = shrunk.recipe("demo_pretrain", video_folder, num_pictures=1)
    sheet, animation = show_strategies(config, ["all"], tmp_path)
    few, _ = show_strategies(config, ["mgm", "random_tube"], tmp_path / "few")
    assert Image.open(sheet).height > 2 * Image.open(few).height
    assert Image.open(animation).n_frames == 8
    with pytest.raises(ConfigError, match="random_tub"):
        show_strategies(config, ["random_tub"], tmp_path)


def test_boxes_of_records_are_drawn(tmp_path):
    demo.make_demo(tmp_path / "demo", num_train=1, num_validation=1, seed=0)
    config = shrunk.recipe(
        "demo_pretrain",
        tmp_path / "demo",
        data__source="records",
        data__host_crop_size=128,
        num_pictures=1,
    )
    sheet, _ = show_strategies(config, ["mgm+window"], tmp_path / "out")
    yellow = (np.asarray(Image.open(sheet)) == mask_overlays.BOX).all(axis=-1)
    assert yellow.sum() > 200


def test_boxes_of_other_videos_are_refused(video_folder, tmp_path):
    (tmp_path / "run_a_00001.txt").write_text("1 1 1 9 9")
    config = shrunk.recipe("demo_pretrain", video_folder)
    with pytest.raises(ConfigError, match=r"--boxes: of the 12 videos none"):
        show_strategies(config, ["mgm"], tmp_path, boxes=str(tmp_path))


def test_sheets_show_the_motion_that_guides_the_masks(video_folder):
    source = FolderSource(str(video_folder))
    shown = []
    for mode in ("none", "median"):
        config = shrunk.recipe(
            "demo_pretrain", video_folder, num_pictures=1, masking__camera_compensation=mode
        )
        (clip,) = mask_clips(config, source, ["mgm"])
        shown.append(clip["motion"][clip["motion_valid"]])
    raw, compensated = shown
    np.testing.assert_allclose(
        compensated, raw - np.median(raw, axis=(1, 2), keepdims=True), atol=1e-5
    )
