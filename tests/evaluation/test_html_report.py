import base64
import html
import io
import json
import re

import numpy as np
import pytest
import shrunk
from PIL import Image

from mgm_jax.evaluation import html_report
from mgm_jax.evaluation.predictions import Predictions

NASTY = '<script>alert("x")</script> & 日本'


@pytest.fixture
def write(tmp_path):
    """Writes the report of four correct, one wrong and one unread video; gives its text."""
    probabilities = np.tile(np.array([0.8, 0.2], np.float32), (6, 1))
    probabilities[[2, 3, 4]] = probabilities[[2, 3, 4], ::-1]  # even: 0, 1, 2; odd: 3, 4, 5
    workdir = tmp_path / "run <1>"
    workdir.mkdir()

    def write_report(prefix="", class_names=("even", "odd")):
        predictions = Predictions(
            probabilities=probabilities * (np.arange(6) != 5)[:, None],
            labels=np.array([0, 0, 0, 1, 1, -1]),
            num_views=np.array([2, 2, 2, 2, 2, 0]),
            names=tuple(f"{prefix}video_{index:02d}.mp4" for index in range(6)),
            class_names=class_names,
        )
        config = shrunk.recipe("demo_finetune", tmp_path)
        shown = {"step": 40, "settings": {"temporal_views": 2}}
        path = html_report.write_report(workdir, predictions, config, **shown)
        assert path == workdir / "report.html"
        return path.read_text()

    write_report.workdir = workdir
    return write_report


def text_of(page):
    assert sorted(re.findall("<(h1|h2|p|div|table|tr|td|th|b)[ >]", page)) == sorted(
        re.findall("</(h1|h2|p|div|table|tr|td|th|b)>", page)
    )
    return html.unescape(re.sub("<[^>]*>", "", page))


def test_the_page_holds_everything_and_needs_no_other_file(write):
    lines = [{"step": 1, "loss": 0.75}, {"step": 40, "loss": 0.25}, {"step": 40, "eval/top1": 0.8}]
    metrics = "\n".join(map(json.dumps, lines)) + '\n{"step": 41, "lo'
    (write.workdir / "metrics.jsonl").write_text(metrics)
    text = write()
    page = text_of(text)
    assert not re.search(r"<script|<link|https?://|url\(", text)
    for shown in (
        "80.0 %top-1",
        "5of 6",
        "even66.7 %23",
        "odd100.0 %22",
        "temporal views 2",
        "interval 37.6 to 96.4 %",
        "started from random parameters",
    ):
        assert shown in page
    pictures = re.findall(r'<img [^>]*src="data:image/png;base64,([^"]+)"', text)
    assert len(pictures) == 2  # Curves and confusion matrix.
    for data in pictures:
        assert np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).std() > 10
    wrong = page[page.index("Wrong, the most confident") :]
    assert "video_02.mp4even 20.0 %odd 80.0 %" in wrong
    assert "optimizer.base_lr" in page
    assert write() == text


def test_names_cannot_break_the_page(write):
    text = write(prefix=NASTY, class_names=("even", NASTY))
    assert html.escape(NASTY) in text
    assert NASTY in text_of(text)
    assert "<script" not in text
    assert "no metrics.jsonl" in text
