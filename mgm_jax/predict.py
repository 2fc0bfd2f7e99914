"""Classifies any video files with a finetuned model or a linear probe.

    python -m mgm_jax.predict --checkpoint=runs/mine clip.mp4 more_clips/ --out=predictions.csv

prints the most probable classes of each file. As in the evaluation, softmaxes are averaged over
views, as many as the run's config says unless `--temporal_views` and `--spatial_views` are given.
A detector (config.task=detect) needs `--boxes=detections.csv`, the boxes of people in key frames of
the films in AVA's form, and writes the actions of each box in that form.

A file that cannot be read is reported and the others are still classified; the exit code is then 1.
"""

import csv
import io
import json
import os
import sys
from collections.abc import Sequence

import numpy as np
from absl import app, flags, logging

from mgm_jax.data.ava_files import write_rows
from mgm_jax.data.records import UNLABELLED
from mgm_jax.data.sources import FileSource, find_videos
from mgm_jax.errors import CheckpointError, ConfigError
from mgm_jax.evaluation.evaluator import Evaluator
from mgm_jax.evaluation.films import detect_in_films, to_text
from mgm_jax.evaluation.predictions import Predictions
from mgm_jax.evaluation.results import NUMBERS_FILE
from mgm_jax.io import AnyPath, make_path, replacing
from mgm_jax.program import run_program
from mgm_jax.training import distributed
from mgm_jax.training.classify_step import make_predict_fn
from mgm_jax.training.runs import Run, load_run

NUM_SHOWN = 5
_NOT_FINITE = "the model's probabilities are not finite"


def find_files(paths: Sequence[str]) -> list[str]:
    """Replaces the folders among paths by the video files below them; other paths stay.

    Raises:
        ConfigError: There is no video file below a folder.
    """
    files = []
    for path in paths:
        if not os.path.isdir(path):
            files.append(path)
            continue
        files += [os.path.join(path, file) for file in sorted(find_videos(path, "FILES"))]
    return files


def predict_files(
    run: Run, files: Sequence[str], *, temporal_views: int, spatial_views: int, head: int = 0
) -> Predictions:
    """Classifies files; `head` chooses one of a linear probe's heads."""
    config = run.config.copy_and_resolve_references()
    config.data.num_workers = 0  # Starting processes does not pay off for a few files.
    config.data.max_bad_fraction = 1.0
    config.eval.batch_size = temporal_views
    evaluator = Evaluator(config, run.mesh, make_predict_fn(config, run.model))
    source = FileSource("", files, [UNLABELLED] * len(files), run.class_names)
    views = {"temporal_views": temporal_views, "spatial_views": spatial_views}
    return evaluator.run(run.variables, source, **views)[head]


def chosen_head(run: Run, workdir: AnyPath) -> int:
    """The head of a linear probe that its evaluation chose; 0 for a model with a single head.

    Raises:
        CheckpointError: There are several heads and no whole evaluation.
    """
    if run.config.task != "linear_probe" or len(run.config.probe.learning_rate_factors) == 1:
        return 0
    try:
        return int(json.loads((workdir / NUMBERS_FILE).read_bytes())["head"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"no evaluation in {workdir} says which head to use ({NUMBERS_FILE}: {error!r}); train "
            "the run to its end, or evaluate it with --config.mode=eval"
        ) from error


def most_probable(predictions: Predictions, index: int) -> list[tuple[str, float]]:
    """Names and probabilities of the first `NUM_SHOWN` classes of a file; none if it is unread."""
    row = predictions.probabilities[index]
    if not predictions.num_views[index] or not np.isfinite(row).all():
        return []
    order = np.argsort(-row, kind="stable")[:NUM_SHOWN]
    return [(predictions.class_names[i], float(row[i])) for i in order]


def to_csv(predictions: Predictions) -> str:
    """One line per file: path, number of views read, the most probable classes, and the error."""
    ranks = range(1, min(NUM_SHOWN, len(predictions.class_names)) + 1)
    columns = [column for rank in ranks for column in (f"class_{rank}", f"probability_{rank}")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "views", *columns, "error"])
    for index, file in enumerate(predictions.names):
        classes = most_probable(predictions, index)
        cells = [cell for name, value in classes for cell in (name, f"{value:.6f}")]
        cells += [""] * (len(columns) - len(cells))
        error = predictions.errors.get(index, "" if classes else _NOT_FINITE)
        writer.writerow([file, int(predictions.num_views[index]), *cells, error])
    return text.getvalue()


def predict_boxes(run: Run, films: Sequence[str], boxes: str, out: str | None) -> None:
    """Prints, and writes to `out`, the actions in boxes; exits with 1 if some cannot be read."""
    found = detect_in_films(run, films, boxes)
    print(to_text(found, NUM_SHOWN), flush=True)
    if out:
        with replacing(make_path(out)) as file:
            file.write(write_rows(found.rows).encode())
        logging.info("wrote %s", out)
    if found.errors:
        reasons = "\n  ".join(found.errors.values())
        sys.exit(f"error: {len(found.errors)} key frames could not be read:\n  {reasons}")


def _define_flags() -> None:
    flags.DEFINE_string("checkpoint", None, "Folder of the run.", required=True)
    flags.DEFINE_enum("which", "last", ["last", "best"], "Which of the run's checkpoints.")
    flags.DEFINE_integer(
        "temporal_views", None, "Clips per video; by default as in the run.", lower_bound=1
    )
    flags.DEFINE_integer(
        "spatial_views", None, "Crops per clip; by default as in the run.", lower_bound=1
    )
    flags.DEFINE_string("boxes", None, "csv file of boxes in films, for a detector.")
    flags.DEFINE_string("out", None, "csv file to write as well.")


def main(argv: Sequence[str]) -> None:
    """Classifies the files of the command line; exit code 1 if one could not be read."""
    args = flags.FLAGS
    if len(argv) < 2:
        raise app.UsageError("name video files, or folders of them, to classify")
    distributed.use_compile_cache()
    files = find_files(argv[1:])
    run = load_run(args.checkpoint, checkpoint=args.which)
    if run.config.task == "pretrain":
        raise ConfigError(
            f"--checkpoint={args.checkpoint}: a pretraining run classifies nothing; finetune "
            "it with --config.init_from, and give the folder of that run"
        )
    if (run.config.task == "detect") != bool(args.boxes):
        raise ConfigError(
            f"--boxes={args.boxes or ''}: {args.checkpoint} is a run of config.task="
            f"{run.config.task}; a detector needs a file of boxes, others take none"
        )
    if args.boxes:
        predict_boxes(run, files, args.boxes, args.out)
        return
    predictions = predict_files(
        run,
        files,
        temporal_views=args.temporal_views or run.config.eval.temporal_views,
        spatial_views=args.spatial_views or run.config.eval.spatial_views,
        head=chosen_head(run, make_path(args.checkpoint)),
    )
    failed = []
    for index, path in enumerate(predictions.names):
        classes = most_probable(predictions, index)
        if not classes:
            if predictions.num_views[index]:
                logging.warning("%s: %s", path, _NOT_FINITE)
            failed.append(path)
            continue
        print(path)
        for name, probability in classes:
            print(f"  {100 * probability:5.1f} %  {name}")
    if args.out:
        with replacing(make_path(args.out)) as file:
            file.write(to_csv(predictions).encode())
        logging.info("wrote %s", args.out)
    if failed:
        sys.exit(
            f"error: {len(failed)} of {len(files)} files could not be classified, for the reasons "
            "above:\n  " + "\n  ".join(failed)
        )


if __name__ == "__main__":
    # Only in the program itself: other commands have flags of equal names.
    _define_flags()
    run_program(main, positional=True)
