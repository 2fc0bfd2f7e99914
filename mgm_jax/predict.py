"""Classifies any video files with a finetuned model or a linear probe.

    python -m mgm_jax.predict --checkpoint=runs/mine clip.mp4 more_clips/ --out=predictions.csv

prints the most probable classes of each file. The model may also be a Hugging Face folder or one of
its Hub. As in the evaluation, softmaxes are averaged over views, as many as the run's config says
unless `--temporal_views` and `--spatial_views` are given. `--features=FILE.npz` writes the
encoder's features of each file (`vectors`, `names`, `num_views`), also of a pretrained model.
A detector (config.task=detect) needs `--boxes=detections.csv`, the boxes of people in key frames of
the films in AVA's form, and writes the actions of each box in that form.

A file that cannot be read is reported and the others are still classified; the exit code is then 1.
"""

import csv
import io
import os
import sys
from collections.abc import Sequence

import numpy as np
from absl import flags, logging

from mgm_jax.data.ava_files import write_rows
from mgm_jax.data.sources import find_videos
from mgm_jax.errors import ConfigError, printable
from mgm_jax.evaluation.films import detect_in_films, to_text
from mgm_jax.evaluation.predictions import Predictions
from mgm_jax.inference import Features, load_classifier
from mgm_jax.io import make_path, replacing, write_arrays
from mgm_jax.program import run_program
from mgm_jax.training import distributed
from mgm_jax.training.runs import Run

NUM_SHOWN = 5
_NOT_FINITE = "the model's probabilities are not finite"

_WITHOUT_EFFECT = {
    "boxes": ("features", "temporal_views", "spatial_views"),
    "features": ("out",),
}
"""Flags that another one makes useless, by the other."""


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
            # Names of films may be in any encoding, and are written as they are.
            file.write(write_rows(found.all_rows).encode(errors="surrogateescape"))
        logging.info("wrote %s", out)
    failed = [*found.errors.values()]
    failed += [f"{printable(name)}: {_NOT_FINITE}" for name in found.not_finite]
    if failed:
        reasons = "\n  ".join(failed)
        sys.exit(f"error: {len(failed)} key frames could not be read or scored:\n  {reasons}")


def _define_flags() -> None:
    flags.DEFINE_string("checkpoint", None, "Run, Hugging Face folder or Hub model.", required=True)
    flags.DEFINE_enum("which", "last", ["last", "best"], "Which of the run's checkpoints.")
    flags.DEFINE_integer(
        "temporal_views", None, "Clips per video; by default as in the run.", lower_bound=1
    )
    flags.DEFINE_integer(
        "spatial_views", None, "Crops per clip; by default as in the run.", lower_bound=1
    )
    flags.DEFINE_string("boxes", None, "csv file of boxes in films, for a detector.")
    flags.DEFINE_string("out", None, "csv file to write as well.")
    flags.DEFINE_string("features", None, "npz file of features, instead of classes.")


def main(argv: Sequence[str]) -> None:
    """Classifies the files of the command line; exit code 1 if one could not be read."""
    args = flags.FLAGS
    if len(argv) < 2:
        raise ConfigError("name video files, or folders of them, to classify")
    for flag, ignored in _WITHOUT_EFFECT.items():
        for name in ignored:
            if getattr(args, flag) and getattr(args, name) is not None:
                raise ConfigError(f"--{name}={getattr(args, name)} has no effect with --{flag}")
    distributed.use_compile_cache()
    files = find_files(argv[1:])
    model = load_classifier(args.checkpoint, checkpoint=args.which)
    task = model.run.config.task
    if task == "pretrain" and not args.features:
        raise ConfigError(
            f"--checkpoint={args.checkpoint}: a pretrained model classifies nothing; finetune "
            "it with --config.init_from and give the folder of that run, or ask for its features "
            "with --features=FILE.npz"
        )
    if (task == "detect") != bool(args.boxes):
        raise ConfigError(
            f"--boxes={args.boxes or ''}: {args.checkpoint} is a run of config.task="
            f"{task}; a detector needs a file of boxes, others take none"
        )
    if args.boxes:
        predict_boxes(model.run, files, args.boxes, args.out)
        return
    views = {"temporal_views": args.temporal_views, "spatial_views": args.spatial_views}
    if args.features:
        failed = write_features(model.encode(files, **views), args.features)
    else:
        failed = print_classes(model.predict(files, **views), args.out)
    if failed:
        sys.exit(
            f"error: {len(failed)} of {len(files)} files could not be read or classified, for the "
            "reasons above:\n  " + "\n  ".join(failed)
        )


def write_features(features: Features, out: str) -> list[str]:
    """Writes features; returns the files that could not be read."""
    write_arrays(
        make_path(out),
        {
            "vectors": features.vectors,
            "names": np.array(features.names, str),
            "num_views": features.num_views,
        },
    )
    logging.info("wrote %s", out)
    return [features.names[index] for index in np.flatnonzero(features.num_views == 0)]


def print_classes(predictions: Predictions, out: str | None) -> list[str]:
    """Prints, and writes to `out`, the most probable classes; returns files without any."""
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
    if out:
        with replacing(make_path(out)) as file:
            file.write(to_csv(predictions).encode())
        logging.info("wrote %s", out)
    return failed


if __name__ == "__main__":
    # Only in the program itself: other commands have flags of equal names.
    _define_flags()
    run_program(main, positional=True)
