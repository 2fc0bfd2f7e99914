import numpy as np
import pytest
import shrunk

from mgm_jax.data.sources import FolderSource
from mgm_jax.data.subsets import SubsetSource
from mgm_jax.evaluation import periodic
from mgm_jax.evaluation.predictions import Predictions
from mgm_jax.evaluation.videos import Videos
from mgm_jax.training import sharding

ONE_VIEW = {"temporal_views": 1, "spatial_views": 1}


class FakeEvaluator:
    """Two heads of seven classes; the second is better on the held-out videos alone."""

    def __init__(self, config, mesh, predict_fn):
        self.asked = []

    def run(self, variables, source, **views):
        self.asked.append((len(source), views))
        shares = (0.2, 0.7) if len(source) == 3 else (0.4, 0.1)
        return [self.predictions(share) for share in shares]

    def predictions(self, share):
        probabilities = np.tile(np.float32(np.arange(7, 0, -1) / 28), (10, 1))
        labels = np.where(np.arange(10) < 10 * share, 0, 3)
        names = ("video",) * 10
        return Predictions(probabilities, labels, np.ones(10, int), names, tuple("abcdefg"))


def test_a_probes_head_is_chosen_on_held_out_videos_and_measured_on_the_others(
    monkeypatch, video_folder
):
    monkeypatch.setattr(periodic, "Evaluator", FakeEvaluator)
    source = FolderSource(str(video_folder))
    train, held_out, evaluated = (SubsetSource(source, np.arange(n)) for n in (1, 3, 8))
    views = {"temporal_views": 5, "spatial_views": 3}
    config = shrunk.recipe("small_linear_probe", video_folder, eval__subset=4)
    config.eval.update(views)
    mesh = sharding.make_mesh({"data": -1, "fsdp": 1, "tensor": 1})
    videos = Videos(train, held_out, evaluated, "there")
    reporter = periodic.AccuracyReporter(config, mesh, lambda *_: {}, videos)
    asked = reporter._evaluator.asked
    assert reporter.report({}, 1) == {
        "eval/top1": pytest.approx(0.1),
        "eval/top5": 1.0,
        "eval/head": 1.0,
        "eval/held_out_top1": pytest.approx(0.7),
    }
    assert reporter.score == pytest.approx(0.7)
    assert asked == [(3, ONE_VIEW), (4, ONE_VIEW)]
    found, settings = reporter.evaluate_all({})
    assert asked[2:] == [(3, ONE_VIEW), (8, views)]
    expected = views | {"videos": "there", "head": 1, "held_out_top1": pytest.approx(0.7)}
    assert settings == expected | {"allow_overlap": True}
    assert found.accuracy(1) == pytest.approx(0.1)
