"""The command, on runs of every kind that are at their first step."""

import pathlib

import jax
import numpy as np
import pytest
import shrunk
from PIL import Image

from mgm_jax import attention
from mgm_jax.errors import ConfigError
from mgm_jax.pictures import attention_sheets
from mgm_jax.training import runs, tasks
from mgm_jax.training.checkpoints import Checkpoints
from mgm_jax.training.runs import read_config


def make_run(workdir, config, classes=()):
    """A run as it is before its first step."""
    task = tasks.make_task(config, classes)
    checkpoints = Checkpoints(pathlib.Path(workdir) / "checkpoints")
    checkpoints.save(0, jax.jit(task.init_fn)(), {"next_batch": 0}, config)
    checkpoints.close()
    runs.describe_run(workdir, config, classes)


@pytest.fixture(scope="module")
def run(video_folder, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    config = shrunk.recipe("demo_pretrain", video_folder, num_pictures=2, model__encoder__depth=1)
    make_run(workdir, config)
    return workdir


def test_sheets_and_animations_of_a_pretraining_run(run, tmp_path):
    files = attention.show_attention(read_config(run), run, tmp_path, query=(1, 0, 3))
    assert [file.name for file in files] == [
        "attention_step0000000_clip0.png",
        "attention_step0000000_clip0.gif",
        "attention_step0000000_clip1.png",
        "attention_step0000000_clip1.gif",
    ]
    sheet = np.asarray(Image.open(files[0]))
    assert (sheet == attention_sheets.QUERY).all(axis=-1).sum() > 20
    assert Image.open(files[1]).n_frames == 8


def test_a_finetuning_run_has_maps_too(video_folder, tmp_path):
    config = shrunk.recipe("demo_finetune", video_folder, model__encoder__depth=1)
    make_run(tmp_path, config, ("a", "b"))
    config.num_pictures = 1
    assert len(attention.show_attention(config, tmp_path, tmp_path / "pictures")) == 2


def test_what_is_not_there_is_refused(run, tmp_path):
    config = read_config(run)
    with pytest.raises(ConfigError, match="--block=5"):
        attention.show_attention(config, run, tmp_path, block=5)
    with pytest.raises(ConfigError, match="--query=9,0,0"):
        attention.show_attention(config, run, tmp_path, query=(9, 0, 0))
    for parts in (["1", "2"], ["1", "a", "0"]):
        with pytest.raises(ConfigError, match="must be three numbers: STEP,ROW,COLUMN"):
            attention._read_query(parts)
