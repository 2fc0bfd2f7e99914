import csv
import json

import numpy as np
import pytest

from mgm_jax.errors import CheckpointError
from mgm_jax.evaluation.results import read_results, write_results
from tests.evaluation.test_predictions import FIVE


def test_files_describe_every_video_and_are_read_back(tmp_path):
    files = write_results(FIVE, tmp_path / "run", step=7, settings={"temporal_views": 5})
    assert sorted(tmp_path.glob("run/*")) == sorted(files)
    numbers = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert numbers == {"step": 7, "temporal_views": 5, **FIVE.summary()}
    with (tmp_path / "run" / "predictions.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["outcome"] for row in rows] == ["right", "wrong", "right", "unread", "unlabelled"]
    assert rows[1] == {
        "video": "folder/video 1.mp4",
        "outcome": "wrong",
        "true_class": "run",
        "predicted_class": 'say "hello", wave',
        "true_probability": "0.300000",
        "predicted_probability": "0.600000",
        "true_rank": "2",
        "views": "2",
    }
    assert (rows[3]["predicted_class"], rows[3]["views"]) == ("", "0")
    assert (rows[4]["predicted_class"], rows[4]["true_class"]) == ("sit", "")
    predictions, step, settings = read_results(tmp_path / "run")
    assert (step, settings) == (7, {"temporal_views": 5})
    assert (predictions.names, predictions.class_names) == (FIVE.names, FIVE.class_names)
    for name in ("probabilities", "labels", "num_views"):
        np.testing.assert_array_equal(getattr(predictions, name), getattr(FIVE, name))


def test_a_missing_or_damaged_evaluation_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"evaluation\.json.*--config\.mode=eval"):
        read_results(tmp_path)
    write_results(FIVE, tmp_path, step=1, settings={})
    (tmp_path / "predictions.npz").write_bytes(b"PK cut short")
    with pytest.raises(CheckpointError, match="damaged"):
        read_results(tmp_path)
