"""From pretraining to accuracy, through the one loop, with real videos and checkpoints."""

import csv
import json
import logging
import shutil

import jax
import numpy as np
import pytest
import shrunk
from shrunk import assert_same_state, logged

from mgm_jax.data.sources import FolderSource
from mgm_jax.errors import CheckpointError, ConfigError
from mgm_jax.evaluation.full_evaluation import evaluate
from mgm_jax.train import train
from mgm_jax.training import consistency
from mgm_jax.training.runs import load_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def videos(video_folder, tmp_path_factory):
    """A list of the twelve videos, eight to train on and four to test on."""
    file = tmp_path_factory.mktemp("lists") / "list.csv"
    with file.open("w") as lines:
        writer = csv.writer(lines)
        writer.writerow(["path", "label", "split"])
        for place, video in enumerate(sorted(video_folder.rglob("*.mp4"))):
            split = "test" if place % 3 == 0 else "train"
            writer.writerow([video.relative_to(video_folder), video.parent.name, split])
    return {
        "data__source": "csv",
        "data__path": str(file),
        "data__root": str(video_folder),
        "eval__split": "test",
        "eval__subset": 0,
    }


@pytest.fixture(scope="module")
def pretrained(video_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    train(shrunk.recipe("demo_pretrain", video_folder), str(folder))
    return folder


@pytest.fixture(scope="module")
def finetuned(videos, pretrained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finetuned")
    config = shrunk.recipe("demo_finetune", "", init_from=str(pretrained), **videos)
    config.eval.every = 1
    return config, folder, train(config, str(folder))


def test_finetuning_reports_accuracy_and_writes_its_results(finetuned):
    _, folder, state = finetuned
    assert int(state.step) == 2
    assert any("eval/top1" in line for line in logged(folder))
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert evaluation["step"] == 2
    assert 0 <= evaluation["top1"] <= 1
    assert evaluation["num_videos"] == 4
    for name in ("predictions.csv", "report.html"):
        assert (folder / name).stat().st_size
    # Every score has its checkpoint.
    assert {path.name for path in (folder / "checkpoints").iterdir()} >= {"1", "2"}


def test_the_best_checkpoint_is_evaluated_if_asked_for(finetuned, tmp_path):
    config, folder, _ = finetuned
    run = shutil.copytree(folder, tmp_path / "run")
    shutil.rmtree(run / "checkpoints" / "2" / "metrics")
    config = config.copy_and_resolve_references()
    config.eval.checkpoint = "best"
    evaluate(config, str(run), jax.devices()[:1])
    assert json.loads((run / "evaluation.json").read_text())["step"] == 1


def test_evaluating_the_checkpoint_alone_gives_the_same(finetuned, caplog):
    config, folder, _ = finetuned
    before = json.loads((folder / "evaluation.json").read_bytes())
    with caplog.at_level(logging.WARNING, "absl"):
        one, eight = (evaluate(config, str(folder), jax.devices()[:n]) for n in (1, 8))
        assert "config.data.stride" not in caplog.text
        changed = config.copy_and_resolve_references()
        changed.data.stride = 3
        changed.init_from = ""  # A command that evaluates need not repeat it.
        evaluate(changed, str(folder))
        assert config.init_from in (folder / "report.html").read_text()
        assert "config.data.stride: 1 -> 3" in caplog.text
    np.testing.assert_allclose(one.probabilities, eight.probabilities, rtol=1e-4, atol=1e-6)
    assert one.accuracy() == pytest.approx(before["top1"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("positions", "sincos_axes"),
        ("tubelet", (2, 16, 16)),
        ("backbone", "timesformer_joint"),
        ("encoder.depth", 3),
    ],
)
def test_a_run_is_not_evaluated_as_another_model(finetuned, name, value):
    config, folder, _ = finetuned
    changed = config.copy_and_resolve_references()
    changed.update_from_flattened_dict({f"model.{name}": value})
    with pytest.raises(CheckpointError, match=rf"another model.*\n  model\.{name}: .* -> "):
        load_run(folder, config=changed)


def test_a_checkpoint_is_read_with_the_config_that_made_it(finetuned, tmp_path, caplog):
    config, folder, _ = finetuned
    run = shutil.copytree(folder, tmp_path / "run")
    later = json.loads((run / "config.json").read_text())
    later["data"]["stride"], later["model"]["positions"] = 7, "sincos_axes"
    (run / "config.json").write_text(json.dumps(later))
    found = load_run(run)
    assert found.config.data.stride == found.saved_config.data.stride == config.data.stride
    assert found.config.model.positions == config.model.positions != "sincos_axes"
    shutil.copytree(run / "checkpoints" / "2", run / "checkpoints" / "3")
    (run / "checkpoints" / "3" / "files.sha256").unlink()
    with caplog.at_level(logging.WARNING, "absl"):
        assert load_run(run).step == 2
    assert "step 2 is used, not the checkpoint of step 3" in caplog.text


def test_a_probe_keeps_its_encoder_and_chooses_its_head_on_held_out_videos(
    videos, pretrained, tmp_path
):
    config = shrunk.recipe("small_linear_probe", "", init_from=str(pretrained), **videos)
    config.batch_size = 4
    config.mesh.update({"data": 4, "fsdp": 1, "tensor": 1})
    config.probe.held_out = 0.25
    state = train(config, str(tmp_path), jax.devices()[:4])
    assert_same_state(state.params["encoder"], load_run(pretrained).params["encoder"])
    assert json.loads((tmp_path / "evaluation.json").read_text())["head"] in range(4)
    variables = load_run(tmp_path).variables
    assert_same_state(variables, state.variables)  # BatchNorm's statistics too.


def test_a_resumed_finetuning_equals_an_uninterrupted_one(finetuned, tmp_path):
    config, _, whole = finetuned
    parts = config.copy_and_resolve_references()
    parts.stop_at_step, parts.eval.every = 1, 0
    train(parts, str(tmp_path))
    parts.stop_at_step = None
    assert_same_state(train(parts, str(tmp_path)), whole)


def test_videos_that_a_run_was_trained_on_before_are_not_evaluated_on(video_folder, tmp_path):
    changes = {"eval__holdout": 0.3, "eval__allow_overlap": False, "stop_at_step": 1}
    config = shrunk.recipe("demo_finetune", video_folder, **changes)
    train(config, str(tmp_path))
    config.seed, config.stop_at_step, config.allow_config_change = 1, 2, True
    with pytest.raises(ConfigError, match=r"step 1 was trained on \d of the \d videos to eval"):
        train(config, str(tmp_path))


@pytest.mark.parametrize("checkpoint", ["", "checkpoints/2"])
def test_videos_of_pretraining_are_not_evaluated_on(checkpoint, video_folder, pretrained, tmp_path):
    changes = {"eval__holdout": 0.2, "eval__allow_overlap": False}
    changes["init_from"] = str(pretrained / checkpoint)
    config = shrunk.recipe("demo_finetune", video_folder, **changes)
    with pytest.raises(ConfigError, match=r"was trained on 2 of the 2 videos to evaluate on"):
        train(config, str(tmp_path))


def test_videos_that_any_earlier_run_was_trained_on_are_not_evaluated_on(
    finetuned, videos, pretrained, tmp_path
):
    config, folder, _ = finetuned
    config = config.copy_and_resolve_references()
    config.eval.allow_overlap = False
    with pytest.raises(ConfigError, match=r"init_from=\S+ was trained on 4 of the 4 videos"):
        evaluate(config, str(folder))
    config = shrunk.recipe("demo_finetune", "", init_from=str(folder), **videos)
    config.eval.allow_overlap = False
    with pytest.raises(ConfigError, match=rf"{pretrained}, to which .*={folder} goes back, was"):
        train(config, str(tmp_path))


def test_an_earlier_run_that_is_gone_is_no_obstacle(finetuned, tmp_path, caplog):
    config = finetuned[0].copy_and_resolve_references()
    config.eval.allow_overlap = False
    with caplog.at_level(logging.INFO, "absl"):
        for gone in (str(tmp_path / "gone"), "gs://gone/run"):
            consistency.check_init_from(gone, config, FolderSource(config.data.root))
    assert "gone does not say which videos it saw" in caplog.text
    assert "gs://gone/run cannot be read" in caplog.text


def test_what_cannot_be_evaluated_is_refused(videos, pretrained, tmp_path):
    config = shrunk.recipe("demo_finetune", "", mode="eval", **videos)
    with pytest.raises(CheckpointError, match="--workdir"):
        evaluate(config, str(tmp_path))
    config = shrunk.recipe("demo_pretrain", videos["data__root"], mode="eval")
    with pytest.raises(ConfigError, match=r"config\.mode=eval"):
        evaluate(config, str(pretrained))
    config = shrunk.recipe("demo_finetune", "", **(videos | {"eval__split": "tset"}))
    with pytest.raises(ConfigError, match=r"'tset'.* test, train"):
        train(config, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
