"""Every backbone of Table 4a goes from pretraining to finetuning through the one loop."""

import jax
import pytest
import shrunk

from mgm_jax.convert.init_from import initialise
from mgm_jax.train import train
from mgm_jax.training import tasks

pytestmark = pytest.mark.slow

SMALL = {
    "model__encoder__dim": 16,
    "model__encoder__heads": 2,
    "data__clip_frames": 4,
    "data__size": 16,
    "model__backbone": "timesformer_divided",
}


def test_a_timesformer_pretrains_scanned_and_starts_a_classifier_that_is_not(
    video_folder, tmp_path
):
    memory = {"model__scan": True, "model__remat": "dots"}
    config = shrunk.recipe("demo_pretrain", video_folder, num_steps=1, **memory, **SMALL)
    train(config, str(tmp_path), jax.devices()[:1])
    config = shrunk.recipe("demo_finetune", video_folder, **SMALL | {"data__clip_frames": 8})
    task = tasks.make_task(config, ("a", "b"))
    shapes = jax.eval_shape(task.init_fn).params
    params, report = initialise(shapes, tmp_path)
    assert jax.tree.map(lambda leaf: leaf.shape, params) == jax.tree.map(
        lambda leaf: leaf.shape, shapes
    )
    assert {name.split("/")[0] for name in report.fresh} == {"head", "norm"}
    assert "encoder/positions/time: (2, 16) in the source, (4, 16) in the model" in str(report)
