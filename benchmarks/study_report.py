"""What the runs of `benchmarks.masking_study` reached: results, a table and a figure."""

import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.study_rows import MEASURES, ROWS, folder_of
from mgm_jax.evaluation.results import NUMBERS_FILE
from mgm_jax.masking.statistics import mean_and_error
from mgm_jax.pictures.figures import DPI, LABEL_SIZE

BASELINES = {
    "finetune": ("from scratch", "mgm 0.5"),
    "finetune_longer": ("from scratch",),
    "linear_probe": ("random features", "mgm 0.5"),
}
"""Rows from which the others' differences are given."""


def stored_results(out: pathlib.Path) -> dict[tuple[str, int], dict]:
    """What results.json holds, by row and seed."""
    file = out / "results.json"
    results = json.loads(file.read_text()) if file.exists() else []
    return {(result["row"], result["seed"]): result for result in results}


def collect(out: pathlib.Path) -> list[dict]:
    """What all runs that are done reached: row, seed and, by stage, top-1 or the last loss.

    What is not measured here is kept as results.json has it.
    """
    found: list[dict] = []
    for row in ROWS:
        for folder in sorted(out.glob(f"{folder_of(out, row, 0).name[:-1]}[0-9]*")):
            result: dict = {"row": row.name, "seed": int(folder.name.rpartition("seed")[2])}
            if (folder / "pretrain.done").exists():
                lines = (folder / "pretrain" / "metrics.jsonl").read_text().splitlines()
                metrics = [json.loads(line) for line in lines]
                if losses := [m["eval/loss"] for m in metrics if "eval/loss" in m]:
                    result["loss"] = losses[-1]
            for name in MEASURES:
                if (folder / f"{name}.done").exists():
                    numbers = json.loads((folder / name / NUMBERS_FILE).read_text())
                    result |= {name: numbers["top1"], "num_videos": numbers["num_videos"]}
            if result.keys() & MEASURES.keys():
                found.append(result)
    merged = stored_results(out)
    for result in found:
        merged.setdefault((result["row"], result["seed"]), {}).update(result)
    return list(merged.values())


def accuracies(results: Sequence[Mapping], row: str, measure: str) -> dict[int, float]:
    """Top-1 by seed; or another measure."""
    return {r["seed"]: r[measure] for r in results if r["row"] == row and measure in r}


def cell(values: Sequence[float], seeds: int) -> str:
    """Mean ± standard error, in percent; how many values it is of, if not one for each seed."""
    if not values:
        return ""
    mean, error = mean_and_error(np.array(values))
    text = f"{100 * mean:.1f}" + (f" ± {100 * error:.1f}" if len(values) > 1 else "")
    return text if len(values) == seeds else f"{text} ({len(values)})"


def table(results: Sequence[Mapping]) -> str:
    """The results as Markdown: means over seeds ± their standard error.

    Differences are taken seed by seed, in percentage points. A number in brackets is how many seeds
    a mean is of, if fewer than the row's. The loss is that of the row's own masks on validation
    clips, lower for masks that hide less; each seed draws its masks and clips.
    """
    columns = ["", "", "seeds"]
    for measure, name in MEASURES.items():
        columns += [f"{name}, top-1 %", *(f"vs {base}" for base in BASELINES[measure])]
    columns.append("loss")
    lines = [columns, ["---"] * len(columns)]
    for row in ROWS:
        measured = {measure: accuracies(results, row.name, measure) for measure in MEASURES}
        seeds = max(map(len, measured.values()))
        cells = [row.name, row.part, str(seeds or "")]
        for measure, own in measured.items():
            cells.append(cell(list(own.values()), seeds))
            for base in BASELINES[measure]:
                other = accuracies(results, base, measure) if base != row.name else {}
                both = sorted(own.keys() & other.keys())
                cells.append(cell([own[seed] - other[seed] for seed in both], seeds))
        losses = list(accuracies(results, row.name, "loss").values())
        cells.append(f"{np.mean(losses):.3f}" if losses else "")
        if cells[2]:
            lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def figure(results: Sequence[Mapping]) -> Figure:
    """Accuracy of every row, with the standard error over seeds."""
    trained = {result["row"] for result in results}
    named = [row.name for row in ROWS if row.name in trained]
    chart = Figure(figsize=(7, 1 + 0.25 * len(named)), dpi=DPI, layout="constrained")
    axes = chart.subplots()
    for shift, (measure, label) in zip((-0.2, 0.0, 0.2), MEASURES.items(), strict=True):
        values = [list(accuracies(results, name, measure).values()) for name in named]
        drawn = [(i, v) for i, v in enumerate(values) if v]
        axes.errorbar(
            [100 * np.mean(v) for _, v in drawn],
            [i + shift for i, _ in drawn],
            xerr=[100 * mean_and_error(np.array(v))[1] for _, v in drawn],
            fmt="o",
            markersize=4,
            capsize=2,
            label=label,
        )
    axes.set_yticks(range(len(named)), named, fontsize=LABEL_SIZE)
    axes.invert_yaxis()
    axes.set_xlabel("top-1, %", fontsize=LABEL_SIZE)
    axes.tick_params(labelsize=LABEL_SIZE)
    axes.grid(alpha=0.3, axis="x")
    axes.legend(fontsize=LABEL_SIZE)
    return chart
