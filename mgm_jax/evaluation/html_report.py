"""One page about a finished run: accuracy, curves, confusions, examples, config.

    python -m mgm_jax.report --workdir=runs/mine

writes `report.html` into the run's folder, from the files that its evaluation left there. The
example frames come from the videos that the run's config names; where they are gone, the page says
so.
"""

import html
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import app, flags, logging
from jaxtyping import Int, UInt8
from ml_collections import ConfigDict

from mgm_jax import config as config_lib
from mgm_jax.data.video_records import VideoSource
from mgm_jax.errors import ConfigError, MgmError
from mgm_jax.evaluation.predictions import Predictions, most_confused
from mgm_jax.evaluation.results import read_results
from mgm_jax.evaluation.videos import make_eval_source
from mgm_jax.io import AnyPath, absolute, make_path, replacing
from mgm_jax.pictures import html_page
from mgm_jax.pictures.confusion import confusion_picture
from mgm_jax.pictures.example_strips import choose_examples, example_strips
from mgm_jax.pictures.line_chart import Points, line_chart
from mgm_jax.training import distributed
from mgm_jax.training.runs import read_config

REPORT_FILE = "report.html"

# Charts of metrics.jsonl: title, metrics by the name of their curve, whether they are shares.
_CHARTS = (
    ("Loss", {"train": "loss"}, False),
    ("Learning rate", {"learning rate": "learning_rate"}, False),
    (
        "Top-1 accuracy",
        {"train": "train_top1", "eval": "eval/top1", "held out": "eval/held_out_top1"},
        True,
    ),
)

_MAIN_VALUES = (
    "task",
    "model.size",
    "init_from",
    "data.source",
    "data.path",
    "data.clip_frames",
    "data.size",
    "batch_size",
    "epochs",
    "num_steps",
    "optimizer.base_lr",
    "optimizer.layer_decay",
)
"""What a reader wants of the config before the rest."""


def write_report(
    workdir: AnyPath,
    predictions: Predictions,
    source: VideoSource | None,
    config: ConfigDict,
    *,
    step: int,
    settings: Mapping[str, Any],
    num_examples: int = 6,
) -> AnyPath:
    """Writes the page; it appears whole or not at all.

    Args:
        workdir: Folder of the run; the curves are those of its `metrics.jsonl`.
        predictions: Of the videos.
        source: The videos of the predictions, for frames of some; None where they are gone.
        config: The run's config.
        step: Step of the model.
        settings: What describes the evaluation.
        num_examples: Videos to show of those that are right, and of those that are wrong.

    Returns:
        The page.
    """
    numbers, counts = predictions.summary(), predictions.confusion()
    names = predictions.class_names
    title = f"Evaluation of {absolute(workdir).name}"
    sections = {
        "Curves": _curves(read_metrics(workdir / "metrics.jsonl")),
        "Most confused": _most_confused(counts, names),
        "Confusion": html_page.picture(confusion_picture(counts, names), "confusion matrix"),
        "Examples": _examples(predictions, source, num_examples),
        "Accuracy per class": _per_class(numbers["per_class"]),
        "Config": _config(dict(config_lib.flatten(config_lib.to_json(config)))),
    }
    parts = [_head(title, numbers, step, settings)]
    parts += [f"<h2>{name}</h2>\n{content}" for name, content in sections.items()]
    path = workdir / REPORT_FILE
    with replacing(path) as file:
        file.write(html_page.page(title, parts).encode())
    return path


def read_metrics(file: AnyPath) -> dict[str, list[tuple[float, float]]]:
    """Reads `metrics.jsonl`.

    Args:
        file: Its path; a line that a kill cut short is passed over.

    Returns:
        (step, value) of each metric by name; nothing where there is no file.
    """
    metrics: dict[str, list[tuple[float, float]]] = {}
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            values = json.loads(line)
        except ValueError:
            continue
        step = values.pop("step")
        for name, value in values.items():
            metrics.setdefault(name, []).append((step, value))
    return metrics


def report_run(workdir: AnyPath) -> AnyPath:
    """Writes the page of a run from the files that its evaluation left.

    Args:
        workdir: Folder of the run.

    Returns:
        The page.

    Raises:
        CheckpointError: There is no run, or no evaluation of it.
    """
    config = read_config(workdir)
    predictions, step, settings = read_results(workdir)
    try:
        source = make_eval_source(config, predictions.class_names)
        if tuple(map(source.describe, range(len(source)))) != predictions.names:
            raise ConfigError("config.eval names other videos than those that were evaluated")
    except ConfigError as error:
        logging.warning("no example frames: %s", error)
        source = None
    return write_report(workdir, predictions, source, config, step=step, settings=settings)


def _head(title: str, numbers: Mapping[str, Any], step: int, settings: Mapping[str, Any]) -> str:
    described = [f"{name.replace('_', ' ')} {value}" for name, value in settings.items()]
    shown = {"top-1": "top1", "top-5": "top5", "mean per class": "mean_per_class"}
    cells = [(_percent(numbers[key]), name) for name, key in shown.items() if key in numbers]
    cells.append((str(numbers["num_counted"]), f"of {numbers['num_videos']} videos counted"))
    large = "".join(f"<div><b>{number}</b>{name}</div>" for number, name in cells)
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        html_page.faint(", ".join([f"step {step}", *described])),
        f'<div class="numbers">{large}</div>',
    ]
    for key, text in (("unread", "could not be read"), ("unlabelled", "without a class")):
        if numbers[key]:
            listing = html_page.table(["video"], [[name] for name in numbers[key]])
            parts.append(html_page.folded(f"{len(numbers[key])} {text}", listing))
    return "\n".join(parts)


def _curves(metrics: Mapping[str, Points]) -> str:
    charts = []
    for title, names, percent in _CHARTS:
        series = {name: metrics[key] for name, key in names.items() if key in metrics}
        if series:
            charts.append(line_chart(title, series, percent=percent))
    if not charts:
        return html_page.faint("The run's folder has no metrics.jsonl.")
    note = html_page.faint(
        "Accuracy while training: train on clips as augmented, eval on one view."
    )
    return f'<div class="charts">{"".join(charts)}</div>{note}'


def _most_confused(counts: Int[np.ndarray, "classes classes"], names: Sequence[str]) -> str:
    rows = [
        [names[one.true], names[one.predicted], one.count, _percent(one.share)]
        for one in most_confused(counts)
    ]
    if not rows:
        return html_page.faint("None.")
    return html_page.table(["true class", "taken for", "videos", "of the class"], rows)


def _examples(predictions: Predictions, source: VideoSource | None, count: int) -> str:
    if source is None:
        return html_page.faint("The videos are not where the config says.")
    known, best = predictions.counted, predictions.predicted_classes
    right = known & (predictions.ranks() == 0)
    confidence = predictions.probabilities.max(axis=-1)
    chosen = choose_examples(right, known & ~right, confidence, best, count)
    titles = ("Right, evenly spaced over the videos", "Wrong, the most confident")
    parts = []
    for title, indices in zip(titles, chosen, strict=True):
        parts.append(f"<h3>{title}</h3>")
        if not indices:
            parts.append(html_page.faint("None."))
        for index, strip in zip(indices, example_strips(source, indices), strict=True):
            parts.append(_example(predictions, index, int(best[index]), strip))
    return "\n".join(parts)


def _example(
    predictions: Predictions,
    index: int,
    best: int,
    strip: UInt8[np.ndarray, "height width 3"] | str,
) -> str:
    label = int(predictions.labels[index])
    true, predicted = (
        f"<b>{html.escape(predictions.class_names[number])}</b>, "
        + _percent(float(predictions.probabilities[index, number]))
        for number in (label, best)
    )
    caption = true if best == label else f"{true}; taken for {predicted}"
    video = predictions.names[index]
    shown = html_page.faint(strip) if isinstance(strip, str) else html_page.picture(strip, video)
    text = f"{caption}<br>{html.escape(video)}"
    return f"<figure>{shown}<figcaption>{text}</figcaption></figure>"


def _per_class(classes: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            number,
            one["name"],
            html_page.bar(one["accuracy"] or 0),
            _percent(one["accuracy"]),
            f"{one['num_right']} of {one['num_videos']}",
        ]
        for number, one in enumerate(classes)
    ]
    return html_page.table(["", "class", "", "top-1", "videos"], rows)


def _config(values: Mapping[str, Any]) -> str:
    columns = ["name", "value"]
    # The number of steps wins over the epochs.
    hidden = "" if values.get("num_steps") is None else "epochs"
    main = [
        [name, values[name]]
        for name in _MAIN_VALUES
        if name != hidden and values.get(name) not in (None, "")
    ]
    every = [[name, json.dumps(value)] for name, value in sorted(values.items())]
    listing = html_page.folded(f"all {len(every)} values", html_page.table(columns, every))
    return html_page.table(columns, main) + listing


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"


def main(_: Sequence[str]) -> None:
    """Writes the page of the run that the flag names; bad input ends with its message."""
    try:
        logging.info("wrote %s", report_run(make_path(flags.FLAGS.workdir)))
    except MgmError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    # Only in the program itself: other commands have a flag of this name.
    flags.DEFINE_string("workdir", None, "Folder of the evaluated run.", required=True)
    distributed.log_to_stderr()
    app.run(main)
