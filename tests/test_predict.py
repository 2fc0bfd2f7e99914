import csv
import subprocess
import sys

import jax
import numpy as np
import pytest
import shrunk

from mgm_jax.errors import CheckpointError, ConfigError
from mgm_jax.evaluation.summary import read_results
from mgm_jax.predict import FilePrediction, find_files, judging_head, predict_files, to_csv
from mgm_jax.train import train
from mgm_jax.training.runs import open_run


@pytest.fixture(scope="module")
def workdir(video_folder, tmp_path_factory):
    """A finetuned run, evaluated on the videos it was trained on: they are classes alone."""
    workdir = tmp_path_factory.mktemp("finetuned")
    config = shrunk.recipe("demo_finetune", video_folder, eval__spatial_views=2, eval__every=0)
    train(config, str(workdir), jax.devices()[:1])
    return workdir


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    file = tmp_path_factory.mktemp("files") / "broken, really.mp4"
    file.write_bytes(b"no video")
    return file


def test_predictions_are_those_of_the_evaluation(workdir, video_folder):
    evaluated, _, _ = read_results(workdir)
    run = open_run(workdir)
    files = find_files([str(video_folder)])
    assert tuple(files) == evaluated.names
    made = list(predict_files(run, files, temporal_views=2, spatial_views=2))
    assert [one.file for one in made] == files
    assert {one.num_views for one in made} == {4}
    np.testing.assert_allclose(
        np.stack([one.probabilities for one in made]),
        evaluated.probabilities[0],
        rtol=1e-4,
        atol=1e-6,
    )


def test_files_that_cannot_be_read_are_named_and_the_rest_goes_on(workdir, video_folder, broken):
    good = find_files([str(video_folder / "odd")])[:1]
    files = [str(broken), *good, "nowhere.mp4", *good]
    run = open_run(workdir)
    made = list(predict_files(run, files, temporal_views=1, spatial_views=1))
    assert [one.num_views for one in made] == [0, 1, 0, 1]
    assert made[0].probabilities is None
    assert str(broken) in made[0].error
    assert "nowhere.mp4" in made[2].error
    np.testing.assert_array_equal(made[1].probabilities, made[3].probabilities)
    rows = list(csv.DictReader(to_csv(made, run.class_names).splitlines()))
    assert [row["file"] for row in rows] == files
    assert rows[0]["class_1"] == ""
    assert rows[0]["error"] == made[0].error
    assert float(rows[1]["probability_1"]) >= float(rows[1]["probability_2"])
    assert {rows[1]["class_1"], rows[1]["class_2"]} == {"even", "odd"}


def test_the_likeliest_classes_come_first():
    probabilities = np.array([0.1, 0.05, 0.3, 0.0, 0.25, 0.2, 0.1], np.float32)
    prediction = FilePrediction("a.mp4", probabilities, 1, "")
    likeliest = prediction.likeliest("abcdefg")
    assert [name for name, _ in likeliest] == ["c", "e", "f", "a", "g"]
    assert [chance for _, chance in likeliest] == pytest.approx([0.3, 0.25, 0.2, 0.1, 0.1])
    assert FilePrediction("a.mp4", None, 0, "broken").likeliest("ab") == []


def test_folders_stand_for_the_videos_below_them(video_folder, broken, tmp_path):
    below = find_files([str(video_folder / "even"), str(broken)])
    assert len(below) == 7
    assert below == [*sorted(below[:6]), str(broken)]
    with pytest.raises(ConfigError, match="no video file below"):
        find_files([str(tmp_path)])


def test_a_probe_speaks_through_the_head_that_its_evaluation_chose(workdir, tmp_path):
    config = open_run(workdir).config
    assert judging_head(config, tmp_path) == 0
    config.task = "linear_probe"
    config.probe = {"learning_rate_factors": (0.1, 1.0)}
    with pytest.raises(CheckpointError, match="no evaluation in"):
        judging_head(config, tmp_path)


def test_the_command_prints_classes_and_fails_for_broken_files(
    workdir, video_folder, broken, tmp_path
):
    table = tmp_path / "out" / "predictions.csv"
    command = [
        *(sys.executable, "-m", "mgm_jax.predict", f"--checkpoint={workdir}"),
        *("--temporal_views=1", "--spatial_views=1", f"--out={table}"),
        *(str(broken), str(video_folder / "odd")),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "error: 1 of 7 files could not be read" in done.stderr
    assert done.stderr.count(str(broken)) >= 2  # The reason, and the list at the end.
    blocks = done.stdout.splitlines()
    assert len(blocks) == 6 * 3
    assert blocks[0] == str(video_folder / "odd" / "video_01.mp4")
    chances = [float(line.split("%")[0]) for line in blocks[1:3]]
    assert sum(chances) == pytest.approx(100, abs=0.2)
    with table.open(newline="") as lines:
        assert len(list(csv.DictReader(lines))) == 7
