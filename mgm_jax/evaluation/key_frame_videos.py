"""The key frames that a detector is trained and evaluated on, with detected boxes."""

import json
import pathlib

from ml_collections import ConfigDict

from mgm_jax.data.detected import DetectedSource
from mgm_jax.data.records import VideoSource
from mgm_jax.errors import ConfigError


def with_detections(config: ConfigDict, source: VideoSource, part: str) -> VideoSource:
    """Adds the boxes of `config.PART.detections` to key frames, if it names a file.

    Raises:
        ConfigError: The videos have no boxes, or more than the model is given to evaluate, or the
            detections are of others.
    """
    record = source[0]
    if record.key is None and record.boxes is None:
        raise ConfigError(
            f"config.{part}: the videos have no boxes, such as {source.describe(0)}; config.task="
            "detect needs key frames, which data_prep prepares of AVA and of files in its form"
        )
    group = config[part]
    if part == "eval":
        _check_most_boxes(config)
    if not group.detections:
        return source
    flag = f"config.{part}.detections"
    # In training, more boxes than the limit are a random choice; in evaluation none may be lost.
    limit = config.data.max_boxes if part == "eval" else None
    return DetectedSource(source, group.detections, group.detection_score, flag, limit)


def _check_most_boxes(config: ConfigDict) -> None:
    """Refuses annotations of which some would be left out, as far as the data set says."""
    folder = config.data.path if config.eval.path is None else config.eval.path
    file = pathlib.Path(folder, "metadata.json")
    most = json.loads(file.read_text()).get("most_boxes", 0) if file.is_file() else 0
    if most > config.data.max_boxes:
        raise ConfigError(
            f"config.data.max_boxes={config.data.max_boxes}: a key frame of {folder} has {most} "
            "annotated boxes; raise it"
        )
