import csv
import json

import numpy as np

from mgm_jax.evaluation.results import write_results
from mgm_jax.io import read_arrays
from tests.evaluation.test_predictions import FIVE


def test_files_describe_every_video(tmp_path):
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
    arrays = read_arrays(tmp_path / "run" / "predictions.npz")
    np.testing.assert_array_equal(arrays.pop("probabilities")[0], FIVE.probabilities)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, getattr(FIVE, name))
