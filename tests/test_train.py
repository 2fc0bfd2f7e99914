import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
import shrunk
from shrunk import assert_same_state, logged
from test_config import of_an_earlier_version

from mgm_jax.errors import (
    CheckpointError,
    ConfigError,
    NonFiniteLossError,
    TooManySkippedError,
)
from mgm_jax.evaluation.full_evaluation import evaluate
from mgm_jax.train import train
from mgm_jax.training import integrity
from mgm_jax.training.runs import load_run
from mgm_jax.training.step_counts import count_steps

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
TINY = {
    "model__encoder__dim": 32,
    "model__encoder__depth": 1,
    "model__encoder__heads": 2,
    "model__decoder__dim": 16,
    "model__decoder__heads": 2,
    "data__clip_frames": 4,
}
ENCODER = {name: value for name, value in TINY.items() if "decoder" not in name}


def use_names_of_an_earlier_version(workdir, step):
    """Rewrites the config of a checkpoint, and of the run, as the first version would have it."""
    checkpoint = workdir / "checkpoints" / str(step)
    for file in (workdir / "config.json", checkpoint / "config" / "metadata"):
        config = of_an_earlier_version(json.loads(file.read_text()))
        config["model"]["attention"] = "cudnn"  # On a GPU.
        file.write_text(json.dumps(config))
    unfinished = checkpoint.rename(f"{checkpoint}{integrity._UNFINISHED}")
    integrity.write_digests(checkpoint.parent, step)
    unfinished.rename(checkpoint)


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one_exactly(video_folder, tmp_path, caplog):
    config = shrunk.recipe("demo_pretrain", video_folder, **TINY, num_steps=4, checkpoint_every=2)
    whole = train(config, str(tmp_path / "whole"))
    expected = logged(tmp_path / "whole")
    rates = [line["train/learning_rate"] for line in expected if "train/learning_rate" in line]
    assert rates[0] < rates[1] > rates[2]  # One step of warm-up.
    config.stop_at_step = 3
    config.data.num_workers = 1  # Resumed with another number of workers.
    train(config, str(tmp_path / "parts"))
    config.stop_at_step = None
    config.data.num_workers = 0
    use_names_of_an_earlier_version(tmp_path / "parts", 3)
    assert load_run(tmp_path / "parts").config.data.host_crop_size == config.data.host_crop_size
    assert_same_state(whole, train(config, str(tmp_path / "parts")))
    assert logged(tmp_path / "parts") == expected

    newest = tmp_path / "parts" / "checkpoints" / "4"
    (newest / "state" / "manifest.ocdbt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"step 4 .* state/manifest.* step 3"):
        load_run(tmp_path / "parts")
    assert_same_state(whole, train(config, str(tmp_path / "parts")))
    assert logged(tmp_path / "parts") == expected
    assert "4.damaged" in {path.name for path in newest.parent.iterdir()}
    assert "of step 3" in caplog.text


@pytest.mark.slow
def test_another_config_is_refused_by_name_unless_allowed(video_folder, tmp_path):
    config = shrunk.recipe("demo_pretrain", video_folder, **TINY)
    train(config, str(tmp_path), jax.devices()[:1])
    config.masking.ratio = 0.5
    config.num_steps = 3
    with pytest.raises(CheckpointError, match=r"masking\.ratio: 0\.75 -> 0\.5\n.*num_steps: 2"):
        train(config, str(tmp_path), jax.devices()[:1])
    config.allow_config_change = True
    assert int(train(config, str(tmp_path), jax.devices()[:1]).step) == 3
    config.num_steps = 2
    with pytest.raises(ConfigError, match="has done 3 steps, more than the 2"):
        train(config, str(tmp_path), jax.devices()[:1])


@pytest.mark.slow
def test_a_failing_evaluation_loses_no_step(video_folder, tmp_path):
    broken = tmp_path / "broken" / "even"
    broken.mkdir(parents=True)
    (tmp_path / "broken" / "odd").mkdir()
    for place in ("even/one.mp4", "odd/two.mp4"):
        (broken.parent / place).write_bytes(b"no video")
    changes = {"eval__path": str(broken.parent), "eval__every": 1, "checkpoint_every": 1000}
    config = shrunk.recipe("demo_finetune", video_folder, **ENCODER, **changes)
    with pytest.raises(TooManySkippedError):
        train(config, str(tmp_path / "run"), jax.devices()[:1])
    assert load_run(tmp_path / "run").step == 1


@pytest.mark.slow
def test_other_videos_or_classes_are_refused_by_name(video_folder, tmp_path):
    videos, run = tmp_path / "videos", tmp_path / "run"
    shutil.copytree(video_folder, videos)
    config = shrunk.recipe("demo_finetune", videos, **ENCODER, eval__path=str(video_folder))
    config.eval.every = 0
    train(config, str(run), jax.devices()[:1])
    (videos / "odd" / "video_01.mp4").rename(videos / "odd" / "other.mp4")
    with pytest.raises(CheckpointError, match=r"odd/other\.mp4' added; 'odd/video_01"):
        train(config, str(run), jax.devices()[:1])
    config.allow_config_change = True
    train(config, str(run), jax.devices()[:1])
    (videos / "odd").rename(videos / "strange")
    config.eval.path = str(videos)
    with pytest.raises(
        CheckpointError, match=r"(?s)classes: 'strange' added; 'odd' removed.*init_from"
    ):
        train(config, str(run), jax.devices()[:1])
    with pytest.raises(ConfigError, match=r"unknown to the model: strange; without videos: odd"):
        evaluate(config, str(run))
    (run / "classes.json").write_text('["odd", "even"]')
    assert load_run(run).class_names == ("even", "odd")  # Those of the checkpoint.


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_with_a_good_state_saved(video_folder, tmp_path):
    config = shrunk.recipe(
        "demo_pretrain",
        video_folder,
        **TINY,
        num_steps=8,
        log_every=4,
        optimizer__base_lr=1e6,
        optimizer__weight_decay=1e6,
    )
    with pytest.raises(NonFiniteLossError, match=r"config\.optimizer\.clip_norm"):
        train(config, str(tmp_path), jax.devices()[:1])
    params = load_run(tmp_path).params
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        (r"config\.data\.path", {"data__path": str(REPOSITORY / "launch")}),
        ("batch_size=12 .* use 8 or 16", {"batch_size": 12}),
        (r"config\.masking\.strategy='mgn'.* mgm", {"masking__strategy": "mgn"}),
        (r"config\.warmup_steps", {"warmup_steps": 5}),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(message, changes, video_folder, tmp_path):
    with pytest.raises(ConfigError, match=message):
        train(shrunk.recipe("demo_pretrain", video_folder, **changes), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_steps_are_counted_from_epochs_or_given(video_folder):
    config = shrunk.recipe("demo_pretrain", video_folder, num_steps=None, warmup_steps=None)
    config.epochs, config.warmup_epochs, config.batch_size = 10.0, 2.0, 8
    counts = count_steps(config, num_videos=100)
    assert (counts.total_steps, counts.warmup_steps, counts.stop_step) == (125, 25, 125)
    config.stop_at_step = 7
    assert count_steps(config, num_videos=100).stop_step == 7
    config.batch_size = 2000
    with pytest.raises(ConfigError, match=r"config\.batch_size"):
        count_steps(config, num_videos=100)
