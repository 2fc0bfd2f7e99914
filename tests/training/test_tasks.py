import jax
import numpy as np
import pytest
import shrunk
from flax import traverse_util

from mgm_jax.errors import ConfigError
from mgm_jax.training import tasks


@pytest.mark.parametrize(
    ("recipe", "classes", "message"),
    [
        ("demo_finetune", (), r"config\.data\.path.* 2 classes.* 0;"),
        ("small_linear_probe", ("a", "b"), r"config\.init_from.*=WORKDIR"),
    ],
)
def test_what_cannot_be_trained_is_refused(recipe, classes, message):
    with pytest.raises(ConfigError, match=message):
        tasks.make_task(shrunk.recipe(recipe, "unused"), classes)


@pytest.mark.parametrize("backbone", ["vit", "timesformer_divided"])
def test_kernels_of_blocks_can_start_from_a_truncated_normal_distribution(backbone):
    params = {}
    for init in ("xavier", "trunc_normal"):
        changes = {"model__init": init, "model__backbone": backbone}
        config = shrunk.recipe("demo_finetune", "unused", **changes)
        model = tasks.make_model(config, num_classes=3)
        variables = tasks.init_variables(config, model, jax.random.key(0))
        params[init] = traverse_util.flatten_dict(variables["params"], sep="/")
    for name, ours in params["trunc_normal"].items():
        if "/blocks/" in name and name.endswith("/kernel") and "temporal_fc" not in name:
            assert np.abs(ours).max() > 0.05  # Not cut at 2 deviations.
            assert ours.std() == pytest.approx(0.02, rel=0.05)
        else:
            np.testing.assert_array_equal(ours, params["xavier"][name])


@pytest.mark.parametrize("name", ["demo_finetune", "demo_detect"])
def test_the_optimizer_has_the_steps_the_videos_and_the_layers(monkeypatch, name):
    seen, make_optimizer = [], tasks.optim.make_optimizer

    def record(*numbers, **named):
        seen.append((numbers[1:], named["multipliers"]))
        return make_optimizer(*numbers, **named)

    monkeypatch.setattr(tasks.optim, "make_optimizer", record)
    changes = {"optimizer__layer_decay": 0.5, "data__repeated_augmentation": 2}
    tasks.make_task(shrunk.recipe(name, "unused", **changes), ("a", "b"), 10, 4)
    ((numbers, multipliers),) = seen
    assert numbers == (10, 4, 8)
    assert multipliers["head"]["kernel"] == 1.0
    assert multipliers["encoder"]["blocks"]["1"]["mlp"]["fc1"]["kernel"] == 0.5


def test_the_heads_of_a_probe_have_their_learning_rates(monkeypatch):
    seen, make_optimizer = [], tasks.optim.make_optimizer

    def record(*numbers, **named):
        seen.append(named["multipliers"])
        return make_optimizer(*numbers, **named)

    monkeypatch.setattr(tasks.optim, "make_optimizer", record)
    changes = {"init_from": "unused", "probe__learning_rate_factors": (0.1, 10.0)}
    tasks.make_task(shrunk.recipe("small_linear_probe", "unused", **changes), ("a", "b"), 10)
    (found,) = seen
    for name, axes in (("kernel", 3), ("bias", 2)):
        np.testing.assert_allclose(np.ravel(found["heads"][name]), [0.1, 10.0])
        assert found["heads"][name].ndim == axes


def test_another_seed_gives_other_parameters_and_random_numbers():
    def start(seed):
        config = shrunk.recipe("demo_finetune", "unused", seed=seed, model__encoder__depth=1)
        return tasks.make_task(config, ("a", "b"), 10).init_fn()

    states = [start(seed) for seed in (0, 1)]
    kernels = [state.params["encoder"]["embed"]["kernel"] for state in states]
    assert not np.array_equal(*kernels)
    assert not np.array_equal(*(state.seed for state in states))


def test_a_task_for_other_chips_can_be_made():
    config = shrunk.recipe("ssv2_finetune", "unused", model__attention="splash")
    assert tasks.make_task(config, ("a", "b"), 10).predict_fn is not None
