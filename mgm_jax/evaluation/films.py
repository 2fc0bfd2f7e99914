"""Actions of people in films, in boxes that a csv file names, for `mgm_jax.predict`."""

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from mgm_jax.data.ava_files import read_rows
from mgm_jax.data.detected import DetectedSource
from mgm_jax.data.film import FilmKeyFrames
from mgm_jax.errors import printable
from mgm_jax.evaluation.detections import Detections, detect
from mgm_jax.evaluation.evaluator import Evaluator
from mgm_jax.training.runs import Run
from mgm_jax.training.tasks import make_predict_fn


def detect_in_films(run: Run, files: Sequence[str], boxes: str) -> Detections:
    """Scores the actions of the boxes of a csv file in films (`data.film`).

    Raises:
        ConfigError: The boxes are not those of the films.
    """
    config = run.config.copy_and_resolve_references()
    config.data.num_workers = 0  # Starting processes does not pay off for a few key frames.
    config.data.max_bad_fraction = 1.0
    predict_fn = make_predict_fn(config, run.model)
    source = open_films(config, files, boxes, run.class_names)
    return detect(Evaluator(config, run.mesh, predict_fn), config, run.variables, source)


def open_films(
    config: ConfigDict, files: Sequence[str], boxes: str, class_names: tuple[str, ...]
) -> DetectedSource:
    """The key frames that a csv file names, with its boxes; raises ConfigError as above."""
    names = read_rows(boxes, "--boxes", "detections").images
    key_frames = FilmKeyFrames(files, names, class_names)
    score, limit = config.eval.detection_score, config.data.max_boxes
    return DetectedSource(key_frames, boxes, score, "--boxes", limit)


def to_text(found: Detections, shown: int) -> str:
    """Each key frame's boxes and the most probable actions of each, one a line."""
    lines = []
    for name, boxes, scores in zip(found.names, found.boxes, found.scores, strict=True):
        lines += [printable(name)] if len(boxes) else []
        for box, row in zip(boxes, scores, strict=True):
            lines.append(f"  box {' '.join(f'{edge:.3f}' for edge in box)}")
            for action in np.argsort(-row, kind="stable")[:shown]:
                lines.append(f"    {100 * row[action]:5.1f} %  {found.class_names[action]}")
    return "\n".join(lines)
