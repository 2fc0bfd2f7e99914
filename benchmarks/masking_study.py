r"""What pretraining with each mask is worth, on the demo set: Table 4 and Figure 3 in small.

    python -m data_prep.demo --out=DATA
    pip install -r requirements-test.txt  # OpenCV, for the row with optical flow.
    for split in train validation; do
      python -m mgm_jax.flow.precompute --source=records --videos=DATA --split=$split \
          --method=dis --out=DATA_flow
    done
    python -m benchmarks.masking_study --out=DIR --data=DATA
    python -m benchmarks.masking_study --out=DIR --report

A run pretrains with one setting and one seed (`configs/demo_pretrain.py`), finetunes with 600
labels (`configs/demo_finetune.py`; some settings again for twice the steps) and probes linearly
with all (`configs/small_linear_probe.py`), each in a folder of its own below DIR. Stop it at any
moment: the same command goes on where it was, also several at once. `--only` chooses rows;
`--budget=gpu10` those that benchmarks/gpu.py trains in ten minutes. `--report` writes results.json,
table.md and a figure. What results.json holds is not trained again and stays in the report: copy it
to another machine's DIR to divide the runs.
"""

import contextlib
import json
import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence

from absl import app, flags, logging

from benchmarks.study_report import collect, figure, stored_results, table
from benchmarks.study_rows import BUDGETS, FLOW, ROWS, Row, commands, folder_of
from mgm_jax.errors import ConfigError
from mgm_jax.io import locked


def run(rows: Sequence[Row], seeds: int, out: pathlib.Path, data: str, extra: Sequence[str]) -> int:
    """Trains what is missing, the first seed of every row before the second.

    Returns:
        The exit status of the first command that failed or was stopped; 0 if all is done.
    """
    known = stored_results(out)
    for seed in range(seeds):
        for row in rows:
            if set(row.measures) <= known.get((row.name, seed), {}).keys():
                logging.info("%s, seed %d: in results.json", row.name, seed)
                continue
            folder = folder_of(out, row, seed)
            # Another process may be at work on this run.
            with contextlib.suppress(ConfigError), locked(folder, f"{folder} is in use"):
                if status := _run_missing(folder, commands(row, seed, folder, data, extra)):
                    return status
    return 0


def _run_missing(folder: pathlib.Path, stages: Mapping[str, Sequence[str]]) -> int:
    for name, command in stages.items():
        done, log = folder / f"{name}.done", folder / f"{name}.log"
        made_by = "\n".join(command[1:]).replace(str(folder), "")
        if done.exists():
            if done.read_text() in ("", made_by):  # Earlier versions left it empty.
                continue
            logging.error(
                "%s in %s was made by another command:\n%s\nnot by\n%s\nGive another --out, or "
                "remove that folder",
                *(name, folder, done.read_text(), made_by),
            )
            return 1
        logging.info("%s: %s", folder.name, name)
        with log.open("a") as file:
            status = subprocess.run(command, stdout=file, stderr=file).returncode
        if status:
            logging.error("exit %d: see %s", status, log)
            return status
        done.write_text(made_by)
    return 0


def _define_flags() -> None:
    flags.DEFINE_string("out", None, "Folder of the runs.", required=True)
    flags.DEFINE_string("data", None, "Folder of the demo set; without it nothing is trained.")
    flags.DEFINE_integer("seeds", 3, "Runs of every row.")
    flags.DEFINE_multi_string("only", [], "Name of a row, all by default; may be repeated.")
    flags.DEFINE_enum("budget", None, list(BUDGETS), "Rows that fit a time and machine.")
    flags.DEFINE_bool("report", False, "Write results.json, table.md and accuracies.png.")


def main(argv: Sequence[str]) -> None:
    """Trains what is missing, and reports; further arguments are flags of all runs."""
    values = flags.FLAGS
    out = pathlib.Path(values.out)
    unknown = set(values.only) - {row.name for row in ROWS}
    if unknown:
        raise app.UsageError(f"--only: no such rows: {', '.join(sorted(unknown))}")
    if values.data:
        only = values.only or BUDGETS.get(values.budget)
        rows = [row for row in ROWS if not only or row.name in only]
        flow = pathlib.Path(FLOW.format(data=values.data).partition("=")[2])
        if FLOW in {flag for row in rows for flag in row.flags} and not flow.is_dir():
            sys.exit(f"error: no optical flow in {flow}; see the commands in --help, or use --only")
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
