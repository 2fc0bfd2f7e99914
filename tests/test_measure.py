import command_line
import numpy as np
import pytest
import shrunk

from data_prep import demo
from mgm_jax import measure
from mgm_jax.data.records import RecordSource
from mgm_jax.data.sources import FolderSource
from mgm_jax.errors import ConfigError, VideoError


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
    means = {key: np.nanmean(column) for key, column in measured.values.items()}
    for name in ("codec", "median"):
        for share in (measure.MOTION, measure.BOX_AREA):
            guided = [means[name, strategy, share] for strategy in ("mgm", "mgm_sparse")]
            unguided = [means[name, strategy, share] for strategy in ("random", "random_tube")]
            assert min(guided) > max(unguided)
        assert means[name, "random_tube", measure.CONTINUITY] == 1
        assert means[name, "", measure.INSIDE] > means[name, "", measure.OUTSIDE]
    # The camera's pan moves what is outside the boxes.
    assert means["median", "", measure.OUTSIDE] < means["codec", "", measure.OUTSIDE]
    table = measure.to_markdown(measured)
    assert "- clips: 6\n" in table
    assert table.count("\n| codec |") == 5


def test_unreadable_videos_are_left_out_and_counted(video_folder, tmp_path):
    for name in ("video_00.mp4", "video_02.mp4"):
        (tmp_path / name).write_bytes((video_folder / "even" / name).read_bytes())
    (tmp_path / "video_01.mp4").write_bytes(b"no video")
    config = recipe(tmp_path)
    measured = measure.measure(config, FolderSource(str(tmp_path)), ["random"], ["codec"])
    table = measure.to_markdown(measured)
    assert "- clips: 2\n- videos that could not be read: 1\n" in table
    assert "| codec | random |" in table
    assert "box" not in table  # Nor saliency: these videos have none.
    assert "saliency" not in table
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
    config = shrunk.recipe("demo_finetune", video_folder)
    with pytest.raises(ConfigError, match=r"config\.task=finetune masks nothing"):
        measure.measure(config, source, ["mgm"], ["codec"])


@pytest.mark.slow
def test_the_command_prints_and_writes_its_table(demo_set, tmp_path):
    flags = (
        f"--config=configs/demo_pretrain.py --config.data.path={demo_set} "
        "--config.data.split=validation --config.data.size=32 --config.data.clip_frames=8 "
        "--strategies=mgm+window,random --motions=codec "
        f"--out={tmp_path / 'out'}"
    )
    done = command_line.run("mgm_jax.measure", *flags.split())
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "out" / "measures.md").read_text()
    assert table in done.stdout
    assert "| codec | mgm+window |" in table
