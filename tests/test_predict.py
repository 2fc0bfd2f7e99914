import csv
import json
import types

import command_line
import jax
import numpy as np
import pytest
import shrunk

from mgm_jax import predict
from mgm_jax.errors import CheckpointError, ConfigError
from mgm_jax.evaluation.predictions import Predictions
from mgm_jax.inference import chosen_head, load_classifier
from mgm_jax.io import read_arrays
from mgm_jax.predict import find_files, most_probable
from mgm_jax.train import train
from mgm_jax.training.runs import load_run


@pytest.fixture(scope="module")
def workdir(video_folder, tmp_path_factory):
    """A finetuned run, evaluated on the videos it was trained on."""
    workdir = tmp_path_factory.mktemp("finetuned")
    config = shrunk.recipe("demo_finetune", video_folder, eval__spatial_views=2, eval__every=0)
    train(config, str(workdir), jax.devices()[:1])
    return workdir


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    file = tmp_path_factory.mktemp("files") / "broken, really.mp4"
    file.write_bytes(b"no video")
    return file


@pytest.mark.slow
def test_predictions_are_those_of_the_evaluation(workdir, video_folder):
    evaluated = read_arrays(workdir / "predictions.npz")
    files = find_files([str(video_folder)])
    predictions = load_classifier(workdir).predict(files)
    assert predictions.names == tuple(files) == tuple(evaluated["names"])
    assert predictions.num_views.tolist() == [4] * 12
    np.testing.assert_allclose(
        predictions.probabilities, evaluated["probabilities"][0], rtol=1e-4, atol=1e-6
    )


def test_the_most_probable_classes_come_first():
    rows = np.array([[0.1, 0.05, 0.3, 0.0, 0.25, 0.2, 0.1], [0] * 7], np.float32)
    predictions = Predictions(
        rows, np.array([-1, -1]), np.array([1, 0]), ("a", "b"), tuple("abcdefg")
    )
    assert [name for name, _ in most_probable(predictions, 0)] == ["c", "e", "f", "a", "g"]
    assert most_probable(predictions, 1) == []


def test_folders_stand_for_the_videos_below_them(video_folder, broken, tmp_path):
    below = find_files([str(video_folder / "even"), str(broken)])
    assert len(below) == 7
    assert below == [*sorted(below[:6]), str(broken)]
    with pytest.raises(ConfigError, match=str(tmp_path)):
        find_files([str(tmp_path)])


@pytest.mark.slow
def test_a_probe_uses_the_head_that_its_evaluation_chose(workdir, tmp_path):
    run = load_run(workdir)
    assert chosen_head(run, tmp_path) == 0
    run.config.task = "linear_probe"
    run.config.probe = {"learning_rate_factors": (0.1, 1.0)}
    other = json.dumps({"head": 1, "step": run.step + 1})
    for content in (None, "", "{}", "null", '{"head": 1}', other):
        if content is not None:
            (tmp_path / "evaluation.json").write_text(content)
        with pytest.raises(CheckpointError, match=r"evaluation\.json.*--config\.mode=eval"):
            chosen_head(run, tmp_path)
    (tmp_path / "evaluation.json").write_text(json.dumps({"head": 1, "step": run.step}))
    assert chosen_head(run, tmp_path) == 1


@pytest.mark.slow
def test_the_command_prints_classes_and_reports_broken_files(
    workdir, video_folder, broken, tmp_path
):
    table = tmp_path / "out" / "predictions.csv"
    views = ("--temporal_views=1", "--spatial_views=1")
    files = (str(broken), str(video_folder / "odd"), "nowhere.mp4")
    done = command_line.run(
        "mgm_jax.predict", f"--checkpoint={workdir}", *views, f"--out={table}", *files
    )
    assert done.returncode == 1
    assert "error: 2 of 8 files" in done.stderr
    for file in (str(broken), "nowhere.mp4"):
        assert done.stderr.count(file) >= 2  # The reason, and the list at the end.
    blocks = done.stdout.splitlines()
    assert len(blocks) == 6 * 3
    assert blocks[0] == str(video_folder / "odd" / "video_01.mp4")
    percentages = [float(line.split("%")[0]) for line in blocks[1:3]]
    assert sum(percentages) == pytest.approx(100, abs=0.2)
    with table.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 8
    assert (rows[0]["file"], rows[0]["views"], rows[0]["class_1"]) == (str(broken), "0", "")
    assert str(broken) in rows[0]["error"]
    assert float(rows[1]["probability_1"]) >= float(rows[1]["probability_2"])
    assert {rows[1]["class_1"], rows[1]["class_2"]} == {"even", "odd"}


@pytest.mark.parametrize(
    ("flags", "ignored"),
    [
        ({"features": "a.npz", "out": "a.csv"}, "--out=a.csv"),
        ({"boxes": "a.csv", "spatial_views": 3}, "--spatial_views=3"),
    ],
)
def test_flags_without_effect_are_refused(monkeypatch, flags, ignored):
    names = ("checkpoint", "which", "temporal_views", "spatial_views", "boxes", "out", "features")
    values = types.SimpleNamespace(**dict.fromkeys(names))
    vars(values).update(flags)
    monkeypatch.setattr(predict.flags, "FLAGS", values)
    with pytest.raises(ConfigError, match=f"{ignored} has no effect with --{next(iter(flags))}"):
        predict.main(["predict", "a.mp4"])
