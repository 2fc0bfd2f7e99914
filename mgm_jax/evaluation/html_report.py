"""The page about a finished run: accuracy, curves, confusions, worst errors, config.

`report.html` holds its pictures and needs no other file. Training writes it at its end;
`--config.mode=eval` writes it again.
"""

import base64
import html
import io
import json
import string
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict
from PIL import Image

from mgm_jax import config as config_lib
from mgm_jax.errors import printable
from mgm_jax.evaluation.predictions import Predictions, most_confused, wilson_interval
from mgm_jax.io import AnyPath, absolute, replacing
from mgm_jax.pictures import charts, figures
from mgm_jax.training.metrics import read_lines

REPORT_FILE = "report.html"

_NUM_WRONG = 20
_ACCURACY = "Top-1 accuracy"
# Metrics of metrics.jsonl by the name of their curve, by the title of their chart.
_CHARTS = {
    "Loss": {"train": "train/loss"},
    "Learning rate": {"learning rate": "train/learning_rate"},
    _ACCURACY: {"train": "train/top1", "eval": "eval/top1", "held out": "eval/held_out_top1"},
}

_NONE = "<p>None.</p>"
_PAGE = string.Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #2d2d30;
  max-width: 1640px; margin: 2rem auto; padding: 0 1.5rem; }
h2 { margin: 2.2rem 0 .6rem }
.faint { color: #737378 }
.numbers { display: flex; flex-wrap: wrap; gap: 2.5rem; margin: 1.4rem 0 }
.numbers b { display: block; font-size: 1.9rem; line-height: 1.2 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .15rem .9rem .15rem 0; overflow-wrap: anywhere }
th { border-bottom: 1px solid #cdcdd2 }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(30rem, 1fr)); gap: 0 3rem }
.columns { columns: 30rem; column-gap: 3rem }
img { max-width: 100%; height: auto }
</style>
</head>
<body>
<h1>$title</h1>
<p class="faint">$description</p>
<div class="numbers">$numbers</div>
$not_counted
<h2>Curves</h2>
$curves
<p class="faint">Train accuracy is of augmented clips, eval accuracy of one view per video. With
several heads, train loss and accuracy are means over all, eval accuracy is of the chosen one.</p>
<h2>Confusion matrix</h2>
$confusion
<div class="pair">
<div>
<h2>Most confused classes</h2>
$most_confused
</div>
<div>
<h2>Wrong, the most confident</h2>
$wrong
</div>
</div>
<h2>Accuracy per class</h2>
<div class="columns">
$per_class
</div>
<h2>Config</h2>
<div class="columns">
$config
</div>
</body>
</html>
""")


def write_report(
    workdir: AnyPath,
    predictions: Predictions,
    config: ConfigDict,
    *,
    step: int,
    settings: Mapping[str, Any],
) -> AnyPath:
    """Writes the page into the folder of a run, and returns its path.

    The curves are those of the run's `metrics.jsonl`; `settings` describe the evaluation, such as
    its number of views.
    """
    numbers, counts = predictions.summary(), predictions.confusion()
    names = predictions.class_names
    described = [f"step {step}", *(f"{n.replace('_', ' ')} {v}" for n, v in settings.items())]
    described.append(f"started from {config.init_from or 'random parameters'}")
    values = sorted(config_lib.flatten(config_lib.to_json(config)))
    page = _PAGE.substitute(
        title=html.escape(printable(f"Evaluation of {absolute(workdir).name}")),
        description=html.escape(", ".join(described)),
        numbers=_numbers(numbers),
        not_counted=_table(
            ["video", "not counted, or wrong, because"],
            [[name, "its probabilities are not finite"] for name in numbers["not_finite"]]
            + [[name, "it could not be read"] for name in numbers["unread"]]
            + [[name, "its class is unknown"] for name in numbers["unlabelled"]],
        ),
        curves=_curves(workdir / "metrics.jsonl"),
        most_confused=_table(
            ["true class", "predicted class", "videos", "of the true class"],
            [
                [names[true], names[predicted], count, _percent(share)]
                for true, predicted, count, share in most_confused(counts)
            ],
        )
        or _NONE,
        confusion=_image(figures.render(charts.confusion(counts, names)), "confusion matrix"),
        wrong=_most_confident_errors(predictions) or _NONE,
        per_class=_table(
            ["class", "top-1", "correct", "videos"],
            [
                [one["name"], _percent(one["accuracy"]), one["num_right"], one["num_videos"]]
                for one in numbers["per_class"]
            ],
        ),
        config=_table(["name", "value"], [[name, json.dumps(value)] for name, value in values]),
    )
    path = workdir / REPORT_FILE
    with replacing(path) as file:
        file.write(page.encode())
    return path


def _numbers(numbers: Mapping[str, Any]) -> str:
    shown = {"top-1": "top1", "top-5": "top5", "mean per class": "mean_per_class"}
    cells = [(_percent(numbers[key]), name) for name, key in shown.items() if key in numbers]
    if total := numbers["num_counted"]:
        low, high = wilson_interval(sum(one["num_right"] for one in numbers["per_class"]), total)
        cells[0] = (cells[0][0], f"top-1, 95 % interval {100 * low:.1f} to {100 * high:.1f} %")
    cells.append((str(numbers["num_counted"]), f"of {numbers['num_videos']} videos counted"))
    return "".join(f"<div><b>{number}</b>{name}</div>" for number, name in cells)


def _curves(file: AnyPath) -> str:
    lines = read_lines(file) if file.exists() else []
    drawn: dict[str, dict[str, charts.Points]] = {}
    for title, curves in _CHARTS.items():
        for name, key in curves.items():
            if points := [(line["step"], line[key]) for line in lines if key in line]:
                drawn.setdefault(title, {})[name] = points
    if not drawn:
        return "<p>There is no metrics.jsonl in the run's folder.</p>"
    return _image(figures.render(charts.curves(drawn, percent=[_ACCURACY])), "curves")


def _most_confident_errors(predictions: Predictions) -> str:
    probabilities, names = predictions.probabilities, predictions.class_names
    wrong = predictions.counted & predictions.finite & (predictions.ranks() > 0)
    videos = np.flatnonzero(wrong)
    order = np.argsort(-probabilities[videos].max(axis=-1), kind="stable")[:_NUM_WRONG]
    rows = []
    for video in videos[order].tolist():
        classes = predictions.labels[video], probabilities[video].argmax()
        described = [f"{names[i]} {_percent(probabilities[video, i])}" for i in classes]
        rows.append([predictions.names[video], *described])
    return _table(["video", "true class", "predicted class"], rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table of plain text; empty without rows."""
    if not rows:
        return ""
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    lines = [f"<tr>{heads}</tr>"]
    for row in rows:
        cells = "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _image(picture: UInt8[np.ndarray, "height width 3"], description: str) -> str:
    """A picture held in the page itself, as PNG."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{html.escape(description)}" src="data:image/png;base64,{data}">'


def _percent(share: float | np.floating | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"
