import base64
import html
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import rendered
import shrunk
from PIL import Image

from mgm_jax import config as config_lib
from mgm_jax.data.sources import FolderSource
from mgm_jax.errors import CheckpointError
from mgm_jax.evaluation import html_report
from mgm_jax.evaluation.predictions import Predictions
from mgm_jax.evaluation.results import read_results, write_results

NASTY = '<script>alert("x")</script> & sons'


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return rendered.write_folder(tmp_path_factory.mktemp("videos"), num_videos=6, frames=8)


@pytest.fixture
def run(videos, tmp_path):
    """An evaluated run as it lies on disk, with four right, one wrong and one unread video."""
    config = shrunk.recipe("demo_finetune", videos)
    source = FolderSource(str(videos))
    chances = np.tile(np.array([0.8, 0.2], np.float32), (6, 1))
    chances[[2, 3, 4]] = chances[[2, 3, 4], ::-1]  # even: 0, 1, 2; odd: 3, 4, 5
    predictions = Predictions(
        probabilities=chances * (np.arange(6) != 5)[:, None],
        labels=np.array([0, 0, 0, 1, 1, -1]),
        num_views=np.array([2, 2, 2, 2, 2, 0]),
        names=tuple(source.describe(index) for index in range(6)),
        class_names=source.class_names,
    )
    workdir = tmp_path / "run <1>"
    write_results(predictions, workdir, step=40, settings={"temporal_views": 2})
    (workdir / "config.json").write_text(json.dumps(config_lib.to_json(config)))
    lines = [
        {"step": 1, "loss": 0.75, "learning_rate": 1e-3, "train_top1": 0.5},
        {"step": 40, "loss": 0.25, "learning_rate": 1e-4, "train_top1": 0.75},
        {"step": 40, "eval/top1": 0.8},
    ]
    text = "\n".join(map(json.dumps, lines)) + '\n{"step": 41, "lo'
    (workdir / "metrics.jsonl").write_text(text)
    return workdir


class Page(HTMLParser):
    """Collects the elements and checks that they are closed in order."""

    VOID = ("meta", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_holds_everything_and_needs_nothing_else(run):
    path = html_report.report_run(run)
    assert path == run / "report.html"
    text = path.read_text()
    page = Page(text)
    assert not re.search(r"<script|<link|https?://|url\(", text)
    assert "80.0 %top-1" in page.text
    assert "5of 6 videos counted" in page.text
    assert "1 could not be read" in page.text
    assert "train 0.25" in page.text  # The last loss.
    assert "eval 80.0 %" in page.text
    assert "0even66.7 %2 of 3" in page.text
    assert "1odd100.0 %2 of 2" in page.text
    assert "temporal views 2" in page.text
    assert sum(tag == "polyline" for tag, _ in page.elements) == 4
    pictures = [values["src"] for tag, values in page.elements if tag == "img"]
    # Confusion matrix, four right ones, one wrong one.
    assert len(pictures) == 6
    for source in pictures:
        head, data = source.split(",")
        assert head == "data:image/png;base64"
        assert np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).std() > 10
    wrong = page.text[page.text.index("Wrong, the most confident") :]
    assert "even, 20.0 %; taken for odd, 80.0 %" in wrong
    assert "video_04.mp4" in wrong.split("Accuracy per class")[0]
    assert "optimizer.base_lr" in page.text


def test_the_same_run_gives_the_same_page(run):
    first = html_report.report_run(run).read_bytes()
    assert html_report.report_run(run).read_bytes() == first


def test_names_cannot_break_the_page(run):
    predictions, step, settings = read_results(run)
    predictions = Predictions(
        predictions.probabilities,
        predictions.labels,
        predictions.num_views,
        tuple(NASTY + name for name in predictions.names),
        ("even", NASTY),
    )
    config = html_report.read_config(run)
    path = html_report.write_report(run, predictions, None, config, step=step, settings=settings)
    text = path.read_text()
    assert html.escape(NASTY) in text
    assert NASTY in Page(text).text
    assert "<script" not in text


def test_without_videos_and_metrics_the_page_says_so(run, videos):
    config = json.loads((run / "config.json").read_text())
    config["data"]["path"] = str(videos / "even")
    (run / "config.json").write_text(json.dumps(config))
    (run / "metrics.jsonl").unlink()
    text = Page(html_report.report_run(run).read_text()).text
    assert "The videos are not where the config says." in text
    assert "no metrics.jsonl" in text


def test_other_videos_than_those_evaluated_are_not_shown(run, videos, tmp_path):
    other = rendered.write_folder(tmp_path / "other", num_videos=4, frames=8)
    config = json.loads((run / "config.json").read_text())
    config["data"]["path"] = str(other)
    (run / "config.json").write_text(json.dumps(config))
    assert "The videos are not" in html_report.report_run(run).read_text()


def test_an_unreadable_example_keeps_its_place(run, videos, tmp_path):
    predictions, step, settings = read_results(run)
    folder = tmp_path / "broken"
    for name in predictions.names:
        file = folder / name[len(str(videos)) + 1 :]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"no video")
    path = html_report.write_report(
        run,
        predictions,
        FolderSource(str(folder)),
        html_report.read_config(run),
        step=step,
        settings=settings,
    )
    text = Page(path.read_text()).text
    assert "video_04.mp4" in text
    assert str(folder) in text  # The reason names the file.


def test_a_folder_without_a_run_or_an_evaluation_is_named(run, tmp_path):
    with pytest.raises(CheckpointError, match="no run at"):
        html_report.report_run(tmp_path)
    (tmp_path / "config.json").write_text((run / "config.json").read_text())
    with pytest.raises(CheckpointError, match="no evaluation in"):
        html_report.report_run(tmp_path)


def test_the_command_writes_the_page(run):
    command = [sys.executable, "-m", "mgm_jax.evaluation.html_report", f"--workdir={run}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(run / "report.html") in done.stderr
