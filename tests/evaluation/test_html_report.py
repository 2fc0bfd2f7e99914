import base64
import html
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import rendered
import shrunk
from PIL import Image

from mgm_jax.data.sources import FolderSource
from mgm_jax.evaluation import html_report
from mgm_jax.evaluation.predictions import Predictions

NASTY = '<script>alert("x")</script> & 日本'


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return rendered.write_folder(tmp_path_factory.mktemp("videos"), num_videos=6, frames=8)


@pytest.fixture
def write(videos, tmp_path):
    """Writes the report of four correct, one wrong and one unread video; gives its text."""
    source = FolderSource(str(videos))
    probabilities = np.tile(np.array([0.8, 0.2], np.float32), (6, 1))
    probabilities[[2, 3, 4]] = probabilities[[2, 3, 4], ::-1]  # even: 0, 1, 2; odd: 3, 4, 5
    workdir = tmp_path / "run <1>"
    workdir.mkdir()

    def write_report(source=source, prefix="", class_names=source.class_names):
        predictions = Predictions(
            probabilities=probabilities * (np.arange(6) != 5)[:, None],
            labels=np.array([0, 0, 0, 1, 1, -1]),
            num_views=np.array([2, 2, 2, 2, 2, 0]),
            names=tuple(prefix + source.describe(index) for index in range(6)),
            class_names=class_names,
        )
        config = shrunk.recipe("demo_finetune", videos)
        shown = {"step": 40, "settings": {"temporal_views": 2}}
        path = html_report.write_report(workdir, predictions, source, config, **shown)
        assert path == workdir / "report.html"
        return path.read_text()

    write_report.workdir = workdir
    return write_report


class Page(HTMLParser):
    """Collects the text and checks that elements are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.text = [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_holds_everything_and_needs_no_other_file(write):
    lines = [{"step": 1, "loss": 0.75}, {"step": 40, "loss": 0.25}, {"step": 40, "eval/top1": 0.8}]
    metrics = "\n".join(map(json.dumps, lines)) + '\n{"step": 41, "lo'
    (write.workdir / "metrics.jsonl").write_text(metrics)
    text = write()
    page = Page(text).text
    assert not re.search(r"<script|<link|https?://|url\(", text)
    for shown in ("80.0 %top-1", "5of 6", "even66.7 %23", "odd100.0 %22", "temporal views 2"):
        assert shown in page
    pictures = re.findall(r'<img [^>]*src="data:image/png;base64,([^"]+)"', text)
    # Curves, confusion matrix, four correct ones, a wrong one.
    assert len(pictures) == 7
    for data in pictures:
        assert np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).std() > 10
    wrong = page[page.index("Wrong, the most confident") :]
    assert "true class even 20.0 %, predicted odd 80.0 %" in wrong
    assert "video_04.mp4" in wrong.split("Accuracy per class")[0]
    assert "optimizer.base_lr" in page
    assert write() == text


def test_names_cannot_break_the_page(write):
    text = write(prefix=NASTY, class_names=("even", NASTY))
    assert html.escape(NASTY) in text
    assert NASTY in Page(text).text
    assert "<script" not in text
    assert "no metrics.jsonl" in text


def test_an_unreadable_example_shows_the_reason(write, videos, tmp_path):
    for video in videos.rglob("*.mp4"):
        file = tmp_path / "broken" / video.relative_to(videos)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"no video")
    text = Page(write(FolderSource(str(tmp_path / "broken")))).text
    assert text.count("video_04.mp4") == 2  # The name, and the reason.
