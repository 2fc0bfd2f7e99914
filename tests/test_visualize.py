"""Pictures of runs at their first step, and of masks without a run."""

import pathlib

import jax
import numpy as np
import pytest
import rendered
import shrunk
from PIL import Image

from data_prep import demo
from mgm_jax import visualize
from mgm_jax.data.boxes import open_with_boxes
from mgm_jax.data.sources import FolderSource
from mgm_jax.errors import CheckpointError, ConfigError, VideoError
from mgm_jax.pictures import overlays
from mgm_jax.pictures.gallery import (
    guiding_motion,
    mask_pictures,
    read_clips,
    write_pictures,
)
from mgm_jax.training import runs, tasks
from mgm_jax.training.checkpoints import Checkpoints
from mgm_jax.training.runs import read_config

SMALL = {"num_pictures": 2, "model__encoder__depth": 1}


def make_run(workdir, config, classes=()):
    task = tasks.make_task(config, classes)
    checkpoints = Checkpoints(pathlib.Path(workdir) / "checkpoints")
    checkpoints.save(0, jax.jit(task.init_fn)(), {"next_batch": 0}, config)
    checkpoints.close()
    runs.describe_run(workdir, config, classes)
    return workdir


@pytest.fixture(scope="module")
def run(video_folder, tmp_path_factory):
    config = shrunk.recipe("demo_pretrain", video_folder, norm_pix_loss=True, **SMALL)
    return make_run(tmp_path_factory.mktemp("run"), config)


def draw(config, run, folder, **changes):
    return write_pictures(folder, *visualize.draw_run(config, run, **changes))


def names_of(stem):
    return [f"{stem}_clip{number}.png" for number in (0, 1)]


@pytest.mark.slow
def test_reconstructions_of_the_last_checkpoint(run, tmp_path):
    config = read_config(run)
    files = draw(config, run, tmp_path / "pictures", leaky=True)
    assert [file.name for file in files] == names_of("step0000000")
    sheet = Image.open(files[0])
    assert np.asarray(sheet).std() > 20
    shorter = draw(config, run, tmp_path / "without")[0]
    assert Image.open(shorter).height < sheet.height
    one_video = str(rendered.write_folder(tmp_path / "others", num_videos=1))
    config = shrunk.recipe("demo_pretrain", one_video, norm_pix_loss=False, **SMALL)
    (tmp_path / "pixels").mkdir()
    assert len(draw(config, make_run(tmp_path / "pixels", config), tmp_path / "out")) == 1


@pytest.mark.slow
def test_the_attention_of_a_pretraining_run(run, tmp_path):
    files = draw(read_config(run), run, tmp_path, attention=["1", "0", "3"])
    assert [file.name for file in files] == names_of("attention_step0000000_block-1_1_0_3")
    sheet = np.asarray(Image.open(files[0]))
    assert (sheet == overlays.QUERY).all(axis=-1).sum() > 20


@pytest.mark.slow
def test_a_finetuning_run_has_attention_but_no_reconstruction(video_folder, tmp_path):
    changes = {"num_pictures": 1, "model__encoder__depth": 1}
    config = shrunk.recipe("demo_finetune", video_folder, **changes)
    make_run(tmp_path, config, ("a", "b"))
    assert len(draw(config, tmp_path, tmp_path / "pictures", attention=["centre"])) == 1
    with pytest.raises(ConfigError, match=r"config\.task=finetune.*--attention"):
        visualize.draw_run(config, tmp_path)


@pytest.mark.slow
def test_what_is_not_there_is_refused(run, tmp_path):
    config = read_config(run)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_config(tmp_path)
    runs.describe_run(tmp_path, config, ())
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        visualize.draw_run(config, tmp_path)


def test_unreadable_videos_are_named_when_none_is_left(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    config = shrunk.recipe("demo_pretrain", tmp_path)
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        read_clips(config, FolderSource(str(tmp_path)))


def test_masks_need_no_checkpoint_and_show_the_boxes_of_records(tmp_path):
    demo.make_demo(tmp_path / "demo", num_train=1, num_validation=1, seed=0)
    data = {"data__source": "records", "data__host_crop_size": 64}
    config = shrunk.recipe("demo_pretrain", tmp_path / "demo", num_pictures=1, **data)
    source = open_with_boxes(config.data, None)
    pictures = mask_pictures(config, source, ["mgm+window", "random"])
    (sheet,) = write_pictures(tmp_path, "masks", pictures)
    yellow = (np.asarray(Image.open(sheet)) == overlays.BOX).all(axis=-1)
    assert yellow.sum() > 200
    write_pictures(tmp_path, "masks", [np.zeros((2, 2, 3), np.uint8)] * 2)
    assert len(list(tmp_path.glob("masks_clip*.png"))) == 2
    write_pictures(tmp_path, "masks", [np.zeros((2, 2, 3), np.uint8)])
    assert list(tmp_path.glob("masks_clip*.png")) == [sheet]  # None of other videos stays.
    with pytest.raises(ConfigError, match="random_tub"):
        next(mask_pictures(config, source, ["random_tub"]))
    config.data.motion = "none"
    with pytest.raises(ConfigError, match=r"masking\.strategy=mgm needs motion"):
        next(mask_pictures(config, source, ["random", "mgm"]))


def test_sheets_show_the_motion_that_guides_the_masks(video_folder):
    config = shrunk.recipe("demo_pretrain", video_folder, num_pictures=1)
    (clip,) = read_clips(config, FolderSource(str(video_folder)))
    raw, valid = clip.batch["motion"][0], clip.batch["motion_valid"][0]
    config.masking.camera_compensation = "median"
    compensated = guiding_motion(config, clip)
    expected = raw - np.median(raw, axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(compensated[valid], expected[valid], atol=1e-5)
