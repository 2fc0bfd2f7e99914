"""Charts of a run's numbers: curves and the confusion matrix."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from mgm_jax.pictures.figures import DPI, LABEL_SIZE, TITLE_SIZE, shorten, with_fonts

Points = Sequence[tuple[float, float]]

_MOST_NAMED, _MOST_NUMBERED = 70, 30  # Classes.
_WORST = 40
_FEW_POINTS = 30


@with_fonts
def curves(charts: Mapping[str, Mapping[str, Points]], percent: Sequence[str] = ()) -> Figure:
    """Draws charts side by side, with the last value of each curve in the legend.

    Args:
        charts: (step, value) points by name of the curve, by title of the chart.
        percent: Titles of the charts whose values are shares, drawn in percent.
    """
    figure = Figure(figsize=(4.2 * len(charts), 3), dpi=DPI, layout="constrained")
    for axes, (title, series) in zip(
        figure.subplots(1, len(charts), squeeze=False)[0], charts.items(), strict=True
    ):
        unit, factor = (" %", 100) if title in percent else ("", 1)
        for name, points in series.items():
            steps, values = np.array(points, float).T
            marker = "o" if len(points) <= _FEW_POINTS else ""
            last = f"{factor * values[-1]:.4g}{unit}"
            axes.plot(steps, factor * values, marker=marker, markersize=3, label=f"{name}: {last}")
        if title in percent:
            axes.set_ylim(0, 100)
        axes.set_title(f"{title}, %" if unit else title, fontsize=TITLE_SIZE, loc="left")
        axes.set_xlabel("step", fontsize=LABEL_SIZE)
        axes.tick_params(labelsize=LABEL_SIZE)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=LABEL_SIZE)
    return figure


@with_fonts
def confusion(counts: Int[np.ndarray, "classes classes"], class_names: Sequence[str]) -> Figure:
    """Draws counts of videos by true class (rows) and predicted class, as shares of each row.

    Correct predictions are blue, errors are orange, rows without videos are grey. *Decision*:
    colours follow the square root of the share, so that an error of one video in twenty can be
    seen. Of more than 70 classes, the 40 with the most errors are shown, in the order of the
    classes, and errors towards the rest are one column.
    """
    columns, title = list(class_names), "Confusion, % of each true class"
    totals = counts.sum(axis=1, keepdims=True)
    if len(columns) > _MOST_NAMED:
        title += f"; the {_WORST} of {len(columns)} classes with the most errors"
        wrong = totals[:, 0] - counts.diagonal()
        worst = np.sort(np.argsort(-wrong, kind="stable")[:_WORST])
        rest = totals[worst] - counts[np.ix_(worst, worst)].sum(axis=1, keepdims=True)
        columns = [*(columns[index] for index in worst), "another class"]
        counts, totals = np.hstack([counts[np.ix_(worst, worst)], rest]), totals[worst]
    classes = len(counts)
    shares = np.divide(100 * counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    side = min(max(0.35 * classes, 4), 8)
    figure = Figure(figsize=(side + 3.6, side + 2.4), dpi=DPI, layout="compressed")
    axes = figure.add_subplot(facecolor="0.9")
    correct = np.eye(len(counts), counts.shape[1], dtype=bool)
    for label, colours, hidden in (("errors", "Oranges", correct), ("correct", "Blues", ~correct)):
        values = np.ma.masked_where(hidden | np.isnan(shares), shares)
        image = axes.imshow(values, cmap=colours, norm=PowerNorm(0.5, 0, 100))
        bar = figure.colorbar(image, ax=axes, shrink=0.5, pad=0.03, ticks=(0, 5, 25, 50, 100))
        bar.ax.set_title(label, fontsize=LABEL_SIZE)
        bar.ax.tick_params(labelsize=LABEL_SIZE)
    if classes <= _MOST_NUMBERED:
        for row, column in np.argwhere(counts).tolist():
            share = shares[row, column]
            colour = "white" if share > 30 else "black"
            style = {"ha": "center", "va": "center", "fontsize": LABEL_SIZE, "color": colour}
            axes.text(column, row, f"{share:.0f}", fontdict=style)
    names = [shorten(name, 24) for name in columns]
    axes.set_xticks(range(len(names)), names, rotation=90, parse_math=False)
    axes.set_yticks(range(classes), names[:classes], parse_math=False)
    axes.tick_params(labelsize=min(LABEL_SIZE, 50 * side / classes))
    axes.set_xlabel("predicted class", fontsize=LABEL_SIZE)
    axes.set_ylabel("true class", fontsize=LABEL_SIZE)
    axes.set_title(title, fontsize=TITLE_SIZE)
    return figure
