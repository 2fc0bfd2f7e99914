import json

import pytest
from random_weights import CLASSIFIER, random_params, write_run

from mgm_jax.convert import weights

CLASSES = tuple("abcde")
RESULTS = {"top1": 0.625, "num_counted": 8, "temporal_views": 5, "spatial_views": 3}


@pytest.mark.parametrize("step", [7, 6])
def test_a_card_has_the_recipe_and_the_accuracy_of_this_checkpoint(tmp_path, step):
    write_run(tmp_path, random_params(CLASSIFIER), "finetune", CLASSES, eval__allow_overlap=False)
    results = RESULTS | {"step": step, "allow_overlap": True, "changes": ["data.stride: 2 -> 5"]}
    (tmp_path / "evaluation.json").write_text(json.dumps(results))
    training = weights.read(tmp_path).training
    assert training["Recipe"].startswith("7 steps of `mgm_jax`, with `base_config.finetune()`")
    assert "\nbatch_size = 8\n" in training["Recipe"]
    assert "\nmode = " not in training["Recipe"]  # As in base_config.
    assert "Data" not in training  # This run does not say what it was trained on.
    assert ("Accuracy" in training) == (step == 7)  # Not that of another checkpoint.
    if step == 7:
        assert "62.50 % of 8 videos" in training["Accuracy"]
        assert "5 temporal and 3 spatial views" in training["Accuracy"]
        assert "videos that were trained on" in training["Accuracy"]
        assert "not those of training: data.stride: 2 -> 5" in training["Accuracy"]
