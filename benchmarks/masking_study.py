"""What pretraining with each mask is worth, on the demo set: Table 4 and Figure 3 in small.

    python -m data_prep.demo --out=DATA
    python -m mgm_jax.flow.precompute --source=records --videos=DATA --method=dis --out=DATA_flow
    python -m benchmarks.masking_study --out=DIR --data=DATA
    python -m benchmarks.masking_study --out=DIR --report

A run pretrains with one setting and one seed (`configs/demo_pretrain.py`), finetunes with few
labels and probes linearly (`configs/demo_finetune.py`, `configs/small_linear_probe.py`), each in a
folder of its own below DIR. Stop it at any moment: the same command goes on where it was, also
several at once. `--only` chooses rows; `--report` writes results.json, table.md and a figure, and
keeps results whose runs are elsewhere. Optical flow is needed for `--split=validation` as well.
"""

import contextlib
import dataclasses
import json
import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence

import numpy as np
from absl import app, flags, logging
from matplotlib.figure import Figure

from configs import demo_finetune
from mgm_jax.errors import ConfigError
from mgm_jax.evaluation.results import NUMBERS_FILE
from mgm_jax.io import locked
from mgm_jax.masking.statistics import mean_and_error
from mgm_jax.pictures.figures import DPI, LABEL_SIZE

SIZE = "--config.data.size=32"  # 2x4x4 tokens, for speed.
PRETRAINING_STEPS = 2000
FEW_LABELS = "train[:600]"
MEASURES = {"finetune": "finetuned", "linear_probe": "linear probe"}
RECIPES = {"finetune": "demo_finetune.py", "linear_probe": "small_linear_probe.py:dataset=demo"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One setting of the study.

    Attributes:
        name: In the table.
        part: The table or figure of the paper that it belongs to.
        argument: Of configs/demo_pretrain.py; None for no pretraining.
        steps: Length of pretraining over `PRETRAINING_STEPS`.
        flags: Of pretraining, or of finetuning without one; {data} is the folder of the demo set.
    """

    name: str
    part: str
    argument: str | None
    steps: float = 1.0
    flags: tuple[str, ...] = ()


def _longer(times: int) -> tuple[str, ...]:
    config = demo_finetune.get_config()
    return tuple(f"--config.{n}={times * config[n]}" for n in ("num_steps", "warmup_steps"))


_SLOWER = ("--config.optimizer.base_lr=2.4e-3", "--config.optimizer.min_lr=2.4e-5")
_FLOW = "--config.data.flow_path={data}_flow"
_FIRST_TUBELET = "--config.masking.guide_first_tubelet"
_MEDIAN = "--config.masking.camera_compensation=median"
_MASKS = ("mgm_sparse", "smm", "smm_sparse", "random_block", "random_tube", "random")
ROWS = (
    Row("from scratch", "", None),
    Row("from scratch, twice as long", "", None, flags=_longer(2)),
    Row("from scratch, twice as long, rate 3e-4", "", None, flags=(*_longer(2), *_SLOWER)),
    Row("mgm", "Table 4e", "mask=mgm"),
    Row("random_tube 0.75", "Table 4e", "mask=random_tube,ratio=0.75"),
    *(Row(mask, "Table 4e", f"mask={mask}") for mask in _MASKS),
    *(Row(f"mgm {ratio}", "Figure 3a", f"ratio={ratio}") for ratio in (0.5, 0.6, 0.9)),
    *(
        Row(f"random_tube {ratio}", "Figure 3a", f"mask=random_tube,ratio={ratio}")
        for ratio in (0.5, 0.6)
    ),
    *(Row(f"mgm, {n:g} times as long", "Figure 3b", "mask=mgm", n) for n in (0.25, 0.5, 2.0)),
    *(Row(f"mgm, jitter {jitter}", "Table 4c", f"jitter={jitter}") for jitter in (0.0, 0.25, 1.0)),
    Row("mgm, optical flow", "Table 4b", "motion=flow", flags=(_FLOW,)),
    Row("mgm, window", "ours", "guidance=window"),
    Row("mgm, first tubelet guided", "ours", "mask=mgm", flags=(_FIRST_TUBELET,)),
    Row("mgm, median", "ours", "mask=mgm", flags=(_MEDIAN,)),
)


def commands(row: Row, seed: int, folder: pathlib.Path, data: str, extra: Sequence[str]) -> dict:
    """The commands of a run, in a folder, by the name of the stage, in the order to run them in.

    `data` is the folder of the demo set, `extra` are further flags of all stages.
    """
    recipes: dict[str, list[str]] = {}
    if row.argument is not None:
        steps = int(row.steps * PRETRAINING_STEPS)
        recipes["pretrain"] = [
            f"--config=configs/demo_pretrain.py:{row.argument}",
            *("--config.eval.split=validation", "--config.model.decoder.depth=1"),
            *(f"--config.num_steps={steps}", f"--config.warmup_steps={steps // 20}"),
        ]
    for name in MEASURES:
        if name == "linear_probe" and row.argument is None:
            continue  # Of features that are random.
        recipes[name] = [f"--config=configs/{RECIPES[name]}", f"--config.data.split={FEW_LABELS}"]
        if row.argument is not None:
            recipes[name].append(f"--config.init_from={folder / 'pretrain'}")
    recipes["finetune" if row.argument is None else "pretrain"] += [
        flag.format(data=data) for flag in row.flags
    ]
    common = [SIZE, f"--config.data.path={data}", f"--config.seed={seed}", *extra]
    return {
        name: [
            *(sys.executable, "-m", "mgm_jax.main", *flags_of, *common),
            f"--workdir={folder / name}",
        ]
        for name, flags_of in recipes.items()
    }


def folder_of(out: pathlib.Path, row: Row, seed: int) -> pathlib.Path:
    """The folder of a run."""
    name = "".join(c if c.isalnum() else "_" for c in row.name)
    return out / f"{name}_seed{seed}"


def run(rows: Sequence[Row], seeds: int, out: pathlib.Path, data: str, extra: Sequence[str]) -> int:
    """Trains what is missing, the first seed of every row before the second.

    Returns:
        The exit status of the first command that failed or was stopped; 0 if all is done.
    """
    for seed in range(seeds):
        for row in rows:
            folder = folder_of(out, row, seed)
            # Another process may be at work on this run.
            with contextlib.suppress(ConfigError), locked(folder, f"{folder} is in use"):
                if status := _run_missing(folder, commands(row, seed, folder, data, extra)):
                    return status
    return 0


def _run_missing(folder: pathlib.Path, stages: Mapping[str, Sequence[str]]) -> int:
    for name, command in stages.items():
        done, log = folder / f"{name}.done", folder / f"{name}.log"
        if done.exists():
            continue
        logging.info("%s: %s", folder.name, name)
        with log.open("a") as file:
            status = subprocess.run(command, stdout=file, stderr=file).returncode
        if status:
            logging.error("exit %d: see %s", status, log)
            return status
        done.touch()
    return 0


def collect(out: pathlib.Path) -> list[dict]:
    """What all runs that are done reached: row, seed and, by stage, top-1 or the last loss.

    Runs that only results.json knows come first.
    """
    stored = out / "results.json"
    known = json.loads(stored.read_text()) if stored.exists() else []
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
    again = {(result["row"], result["seed"]) for result in found}
    return [r for r in known if (r["row"], r["seed"]) not in again] + found


def accuracies(results: Sequence[Mapping], row: str, measure: str) -> dict[int, float]:
    """Top-1 by seed; or another measure."""
    return {r["seed"]: r[measure] for r in results if r["row"] == row and measure in r}


def _cell(values: Sequence[float]) -> str:
    """Mean ± standard error, in percent."""
    if not values:
        return ""
    mean, error = mean_and_error(np.array(values))
    return f"{100 * mean:.1f}" + (f" ± {100 * error:.1f}" if len(values) > 1 else "")


def table(results: Sequence[Mapping]) -> str:
    """The results as Markdown: means over seeds ± their standard error.

    Differences from mgm are taken seed by seed, in percentage points. The loss is that of the
    row's own masks, the same for all seeds, on validation clips: lower for masks that hide less.
    """
    columns = ["", "", "seeds"]
    for name in MEASURES.values():
        columns += [f"{name}, top-1 %", "vs mgm"]
    columns.append("loss")
    lines = [columns, ["---"] * len(columns)]
    for row in ROWS:
        cells = [row.name, row.part, ""]
        for measure in MEASURES:
            own, mgm = (accuracies(results, name, measure) for name in (row.name, "mgm"))
            both = [own[seed] - mgm[seed] for seed in sorted(own.keys() & mgm.keys())]
            cells += [_cell(list(own.values())), _cell(both) if row.name != "mgm" else ""]
            cells[2] = cells[2] or str(len(own) or "")
        losses = list(accuracies(results, row.name, "loss").values())
        cells.append(f"{np.mean(losses):.3f}" if losses else "")
        if cells[2]:
            lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def figure(results: Sequence[Mapping]) -> Figure:
    """Accuracy of every row, with the standard error over seeds."""
    named = [row.name for row in ROWS if accuracies(results, row.name, "finetune")]
    chart = Figure(figsize=(7, 1 + 0.25 * len(named)), dpi=DPI, layout="constrained")
    axes = chart.subplots()
    for shift, (measure, label) in zip((-0.12, 0.12), MEASURES.items(), strict=True):
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


def _define_flags() -> None:
    flags.DEFINE_string("out", None, "Folder of the runs.", required=True)
    flags.DEFINE_string("data", None, "Folder of the demo set; without it nothing is trained.")
    flags.DEFINE_integer("seeds", 3, "Runs of every row.")
    flags.DEFINE_multi_string("only", [], "Name of a row, all by default; may be repeated.")
    flags.DEFINE_bool("report", False, "Write results.json, table.md and accuracies.png.")


def main(argv: Sequence[str]) -> None:
    """Trains what is missing, and reports; further arguments are flags of all runs."""
    values = flags.FLAGS
    out = pathlib.Path(values.out)
    unknown = set(values.only) - {row.name for row in ROWS}
    if unknown:
        raise app.UsageError(f"--only: no such rows: {', '.join(sorted(unknown))}")
    if values.data:
        rows = [row for row in ROWS if not values.only or row.name in values.only]
        if status := run(rows, values.seeds, out, values.data, argv[1:]):
            sys.exit(status)
    if values.report:
        results = collect(out)
        if not results:
            sys.exit(f"error: --out={out} holds no finished run; train some with --data=DIR")
        (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        (out / "table.md").write_text(table(results))
        figure(results).savefig(out / "accuracies.png")
        print(table(results))


if __name__ == "__main__":
    _define_flags()
    logging.set_verbosity(logging.INFO)
    app.run(main)
