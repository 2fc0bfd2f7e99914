"""Classes of any video files, by a finetuned model or a linear probe.

    python -m mgm_jax.predict --checkpoint=runs/mine clip.mp4 more_clips/ --out=predictions.csv

prints the likeliest classes of each file. Softmaxes are averaged over views as in the evaluation,
with the run's numbers of views unless `--temporal_views` and `--spatial_views` say otherwise. A
file that cannot be read is named with the reason and the rest goes on; then the exit code is 1.
"""

import csv
import dataclasses
import io
import os
import sys
from collections.abc import Iterator, Sequence

import grain
import jax
import numpy as np
from absl import app, flags, logging
from jaxtyping import Float32
from ml_collections import ConfigDict

from mgm_jax.data.clip_reader import ReadSpec
from mgm_jax.data.clips import LoadViews, error_message
from mgm_jax.data.loader import HOST_FIELDS
from mgm_jax.data.records import UNLABELLED, VideoRecord
from mgm_jax.data.sources import FolderSource
from mgm_jax.errors import ConfigError, MgmError
from mgm_jax.evaluation import summary
from mgm_jax.io import AnyPath, make_path, replacing
from mgm_jax.training import distributed
from mgm_jax.training.runs import Run, open_run

NUM_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class FilePrediction:
    """What a model says of one file.

    Attributes:
        file: Its path.
        probabilities: Softmax averaged over the views read; None where there is none.
        num_views: Views read.
        error: Why a view could not be read; empty where all were.
    """

    file: str
    probabilities: Float32[np.ndarray, " classes"] | None
    num_views: int
    error: str

    def likeliest(self, class_names: Sequence[str]) -> list[tuple[str, float]]:
        """Names and probabilities of the `NUM_SHOWN` likeliest classes; empty without views."""
        if self.probabilities is None:
            return []
        order = np.argsort(-self.probabilities, kind="stable")[:NUM_SHOWN]
        return [(class_names[i], float(self.probabilities[i])) for i in order]


class FilesSource:
    """Video files of unknown class."""

    def __init__(self, files: Sequence[str], class_names: tuple[str, ...]):
        """Takes the files as they are; nothing is read.

        Args:
            files: Paths.
            class_names: Classes that they may have.
        """
        self._files = tuple(files)
        self.class_names = class_names

    def __len__(self) -> int:
        """Number of files."""
        return len(self._files)

    def __getitem__(self, index: int) -> VideoRecord:
        """The file at a position."""
        return VideoRecord(self._files[index], self._files[index], UNLABELLED)

    def describe(self, index: int) -> str:
        """Path of the file at a position."""
        return self._files[index]


def find_files(paths: Sequence[str]) -> list[str]:
    """Lists the files that paths name.

    Args:
        paths: Files, taken whatever they are, and folders, which stand for the video files below
            them.

    Returns:
        Paths of files.

    Raises:
        ConfigError: There is no video file below a folder.
    """
    files = []
    for path in paths:
        if not os.path.isdir(path):
            files.append(path)
            continue
        try:
            source = FolderSource(path)
        except ConfigError:
            raise ConfigError(f"no video file below {os.path.abspath(path)}") from None
        files += [source.describe(index) for index in range(len(source))]
    return files


def predict_files(
    run: Run,
    files: Sequence[str],
    *,
    temporal_views: int,
    spatial_views: int,
    head: int = 0,
) -> Iterator[FilePrediction]:
    """Classifies files one after the other, the next ones being read meanwhile.

    Args:
        run: Of a classifier.
        files: Paths.
        temporal_views: Clips per file along time.
        spatial_views: Clips per temporal view along the frame's long side.
        head: Which of the model's heads to ask.

    Yields:
        What the model says of each file, in their order.
    """
    loader = LoadViews(
        source=FilesSource(files, run.class_names),
        spec=ReadSpec.from_config(run.config.data),
        temporal_views=temporal_views,
        copies=spatial_views,
    )
    predict_fn = jax.jit(run.task.predict_fn)

    def load(file: int) -> dict[str, np.ndarray]:
        items = range(file * temporal_views, (file + 1) * temporal_views)
        # The views are always the same ones, so the generator is not asked.
        views = [loader.random_map((item, item), np.random.default_rng()) for item in items]
        return {name: np.concatenate([view[name] for view in views]) for name in views[0]}

    reading = (
        grain.MapDataset.range(len(files))
        .map(load)
        .to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=2))
    )
    for file, views in zip(files, reading, strict=True):
        valid = views["valid"]
        errors = views["error"][~valid]
        reason = error_message(errors[0]) if len(errors) else ""
        probabilities = None
        if valid.any():
            batch = {name: array for name, array in views.items() if name not in HOST_FIELDS}
            made = jax.device_get(predict_fn(run.state, batch))["probabilities"][head]
            probabilities = made[valid].mean(axis=0, dtype=np.float64).astype(np.float32)
        yield FilePrediction(file, probabilities, int(valid.sum()), reason)


def judging_head(config: ConfigDict, workdir: AnyPath) -> int:
    """Which head of a run's model speaks for it.

    Args:
        config: The run's config.
        workdir: Its folder.

    Returns:
        The head's number; a linear probe with several learning rates has the one that its
        evaluation chose.

    Raises:
        CheckpointError: There are several heads and no evaluation.
    """
    if config.task != "linear_probe" or len(config.probe.learning_rate_factors) == 1:
        return 0
    _, _, settings = summary.read_results(workdir)
    return int(settings["head"])


def to_csv(predictions: Sequence[FilePrediction], class_names: Sequence[str]) -> str:
    """A line per file: views read, the likeliest classes with their probabilities, the error."""
    shown = range(1, min(NUM_SHOWN, len(class_names)) + 1)
    columns = [column for rank in shown for column in (f"class_{rank}", f"probability_{rank}")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "views", *columns, "error"])
    for one in predictions:
        cells = [
            cell
            for name, probability in one.likeliest(class_names)
            for cell in (name, f"{probability:.6f}")
        ]
        cells += [""] * (len(columns) - len(cells))
        writer.writerow([one.file, one.num_views, *cells, one.error])
    return text.getvalue()


def _open_classifier(workdir: str, checkpoint: str) -> Run:
    run = open_run(workdir, checkpoint=checkpoint)
    if run.task.predict_fn is None:
        raise ConfigError(
            f"--checkpoint={workdir}: a {run.config.task} run classifies nothing; finetune it with "
            "--config.init_from, and give that run's folder"
        )
    return run


def _define_flags() -> None:
    flags.DEFINE_string("checkpoint", None, "Folder of the run.", required=True)
    flags.DEFINE_enum("which", "last", ["last", "best"], "Which of the run's checkpoints.")
    flags.DEFINE_integer("temporal_views", None, "Instead of the run's.", lower_bound=1)
    flags.DEFINE_integer("spatial_views", None, "Instead of the run's.", lower_bound=1)
    flags.DEFINE_string("out", None, "csv file to write as well.")


def main(argv: Sequence[str]) -> None:
    """Classifies the files of the command line; exit code 1 if one could not be read."""
    values = flags.FLAGS
    if len(argv) < 2:
        raise app.UsageError("name video files, or folders of them, to classify")
    distributed.use_compile_cache()
    made = []
    try:
        files = find_files(argv[1:])
        run = _open_classifier(values.checkpoint, values.which)
        views = run.config.eval
        for prediction in predict_files(
            run,
            files,
            temporal_views=values.temporal_views or views.temporal_views,
            spatial_views=values.spatial_views or views.spatial_views,
            head=judging_head(run.config, make_path(values.checkpoint)),
        ):
            made.append(prediction)
            if prediction.error:
                logging.warning("%s", prediction.error)
            if prediction.num_views:
                print(prediction.file)
                for name, probability in prediction.likeliest(run.class_names):
                    print(f"  {100 * probability:5.1f} %  {name}", flush=True)
        if values.out:
            with replacing(make_path(values.out)) as file:
                file.write(to_csv(made, run.class_names).encode())
            logging.info("wrote %s", values.out)
    except MgmError as error:
        sys.exit(f"error: {error}")
    failed = [prediction.file for prediction in made if not prediction.num_views]
    if failed:
        sys.exit(
            f"error: {len(failed)} of {len(files)} files could not be read, for the reasons "
            "above:\n  " + "\n  ".join(failed)
        )


if __name__ == "__main__":
    # Only in the program itself: other commands have flags of equal names.
    _define_flags()
    distributed.log_to_stderr()
    app.run(main)
