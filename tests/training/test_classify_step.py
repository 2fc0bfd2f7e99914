import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import shrunk

from mgm_jax.preprocessing import erasing, mixing, rand_augment, rgb
from mgm_jax.training import classify_step, tasks
from mgm_jax.training.state import TrainState

CLASSES = ("even", "odd")


@pytest.fixture(scope="module")
def batch(video_folder):
    return shrunk.first_batch(shrunk.recipe("demo_finetune", video_folder))


def make(name, **changes):
    config = shrunk.recipe(name, "unused", init_from="unused", **changes)
    task = tasks.make_task(config, CLASSES, total_steps=10)
    return task, jax.jit(task.init_fn)(), jax.jit(task.step_fn)


@pytest.fixture(scope="module")
def finetuning():
    every_augmentation = {"rand_augment_layers": 2, "erasing": 0.5, "mixup": 0.8, "cutmix": 1.0}
    changes = {f"augment__{name}": value for name, value in every_augmentation.items()}
    return make("demo_finetune", model__head_init_scale=0.001, **changes)


@pytest.fixture(scope="module")
def probing():
    return make("small_linear_probe", probe__learning_rate_factors=(0.1, 10.0))


def assert_same(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


@pytest.mark.slow
def test_a_finetuning_step_is_pure_and_moves_every_parameter(finetuning, batch):
    _, state, step_fn = finetuning
    state = state.replace(step=jnp.int32(3))
    first, second = step_fn(state, batch), step_fn(state, batch)
    assert_same(first, second)
    # The head starts at almost nothing, so the first gradients below it are small but there.
    moved = jax.tree.map(lambda new, old: bool((new != old).any()), first[0].params, state.params)
    assert all(jax.tree.leaves(moved))
    np.testing.assert_allclose(first[1]["loss"], np.log(2), rtol=0.02)


@pytest.mark.parametrize("name", ["demo_finetune", "small_linear_probe"])
def test_clips_are_normalised_in_training_and_in_prediction(name, batch):
    config, batch = shrunk.recipe(name, "unused", init_from="unused"), jax.device_put(batch)
    if "augment" in config:
        config.augment.update(rand_augment_layers=0, erasing=0.0, mixup=0.0, cutmix=0.0)
    expected = rgb.normalise(rgb.batch_to_rgb(batch, size=config.data.size))
    keys = jax.random.split(jax.random.key(0))
    rows = classify_step.make_rows(config, 2, batch, *keys)
    np.testing.assert_allclose(rows[0], expected, atol=1e-5)

    class Light(nn.Module):
        def __call__(self, clips):
            return jnp.stack([clips.mean(axis=(1, 2, 3, 4)), jnp.zeros(len(clips))], axis=1)

    found = classify_step.make_predict_fn(config, Light())({}, batch)["probabilities"]
    np.testing.assert_allclose(found[0], jax.nn.softmax(Light()(expected)), atol=1e-5)


def test_every_source_of_randomness_has_its_own_key_in_each_step(monkeypatch, batch):
    config = shrunk.recipe("demo_finetune", "unused")
    config.augment.update(rand_augment_layers=2)
    seen, clips = [], jnp.zeros((8, 8, 32, 32, 3))

    def note(key):
        seen.append(np.asarray(jax.random.key_data(key)).tobytes())

    def mix(key, clips, *_, **__):
        note(key)
        return clips, jnp.eye(2)[jnp.arange(8) % 2], jnp.ones(8)

    class Model(nn.Module):
        num_classes = 2

        @nn.compact
        def __call__(self, clips, train=False):
            note(self.make_rng("dropout"))
            return self.param("scale", nn.initializers.ones, ()) * jnp.ones((8, 2))

    for module, name in ((rand_augment, "rand_augment"), (erasing, "erase")):
        monkeypatch.setattr(module, name, lambda keys, *_, **__: note(keys) or clips)
    monkeypatch.setattr(mixing, "mix", mix)
    optimizer, params = optax.sgd(1.0), {"scale": jnp.float32(1)}
    schedule = optax.constant_schedule(1.0)
    step_fn = classify_step.make_classify_step(config, Model(), optimizer, schedule)
    seed = jax.random.key_data(jax.random.key(0))
    state = TrainState(jnp.int32(0), params, {}, optimizer.init(params), seed)
    for step in range(2):
        step_fn(state.replace(step=jnp.int32(step)), batch)
    assert len(seen) == 8
    assert len(set(seen)) == 8


def test_the_augmentation_changes_with_the_step(finetuning, batch):
    _, state, step_fn = finetuning
    steps = [step_fn(state.replace(step=jnp.int32(s)), batch)[1] for s in range(3)]
    assert len({float(metrics["gradient_norm"]) for metrics in steps}) == 3


@pytest.mark.parametrize("name", ["finetuning", "probing"])
def test_unreadable_and_unlabelled_clips_have_no_influence(name, batch, request):
    _, state, step_fn = request.getfixturevalue(name)
    state = state.replace(step=jnp.int32(3))
    broken = {name: array.copy() for name, array in batch.items()}
    broken["valid"][5] = False
    expected = step_fn(state, broken)
    for label in (-1, 2):
        noisy = {name: array.copy() for name, array in batch.items()}
        noisy["label"][5] = label
        # Its pixels are mixed into its partner's, which does not count then either.
        noisy["luma"][5] = 200
        found = step_fn(state, noisy)
        assert_same(found[0].params, expected[0].params)
        assert_same(found[0].model_state, expected[0].model_state)
        assert_same(found[1], expected[1])
    assert step_fn(state, batch)[1]["gradient_norm"] != expected[1]["gradient_norm"]


def test_a_probe_leaves_the_encoder_alone_and_counts_statistics(probing, batch):
    _, state, step_fn = probing
    after, metrics = step_fn(state, batch)
    # The mean of the heads, which begin at almost nothing.
    np.testing.assert_allclose(metrics["loss"], np.log(2), rtol=0.1)
    assert_same(after.params["encoder"], state.params["encoder"])
    assert (after.params["heads"]["kernel"] != state.params["heads"]["kernel"]).any()
    statistics = [tree["batch_stats"]["normalise"] for tree in (state.variables, after.variables)]
    assert all((statistics[0][name] != statistics[1][name]).any() for name in ("mean", "var"))
    shapes = {leaf.shape for leaf in jax.tree.leaves(after.opt_state)}
    assert shapes <= {(), (2,), *(leaf.shape for leaf in jax.tree.leaves(state.params["heads"]))}


def test_a_probe_keeps_its_statistics_in_a_step_that_is_not_finite(probing, batch):
    _, state, step_fn = probing
    bad = batch | {"yuv_to_rgb": np.full_like(batch["yuv_to_rgb"], np.nan)}
    after, metrics = step_fn(state, bad)
    assert not np.isfinite(metrics["loss"])
    assert_same(after.variables, state.variables)


def test_gradients_that_are_not_finite_change_nothing():
    optimizer, params = optax.adam(1.0), {"scale": jnp.ones(3)}
    seed = jax.random.key_data(jax.random.key(0))
    state = TrainState(jnp.int32(0), params, {}, optimizer.init(params), seed)
    gradients = {"scale": jnp.array([1.0, jnp.nan, 1.0])}
    after, norm = state.apply_gradients(optimizer, jnp.float32(1), gradients)
    assert not np.isfinite(norm)
    assert_same((after.params, after.opt_state), (state.params, state.opt_state))
    assert int(after.step) == 1


def test_each_head_of_a_probe_learns_as_if_alone(probing, batch):
    _, state, step_fn = probing
    _, alone, step_alone = make("small_linear_probe", probe__learning_rate_factors=(10.0,))
    params = {"encoder": state.params["encoder"]}
    heads = jax.tree.map(lambda leaf: leaf[1:], state.params["heads"])
    alone = alone.replace(params={**params, "heads": heads})
    for _ in range(3):
        state, _ = step_fn(state, batch)
        alone, _ = step_alone(alone, batch)
    jax.tree.map(
        lambda both, one: np.testing.assert_allclose(both[1], one[0], rtol=1e-4, atol=1e-6),
        state.params["heads"],
        alone.params["heads"],
    )


def test_predictions_are_probabilities_with_their_places(probing, batch):
    task, state, _ = probing
    made = jax.jit(task.predict_fn)(state.variables, batch)
    assert made["probabilities"].shape == (2, 8, 2)
    np.testing.assert_allclose(made["probabilities"].sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(made["index"], batch["index"])


def test_top1_is_that_of_the_clips_that_count():
    logits = jnp.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [jnp.nan, 0.0]])
    labels = jnp.array([1, 0, 0, 0])
    assert float(classify_step._top1(logits, labels, jnp.ones(4))) == 0.5
    assert float(classify_step._top1(logits, labels, jnp.array([1.0, 1, 0, 0]))) == 1


def test_a_clip_is_augmented_the_same_wherever_it_is_in_the_batch(batch):
    config = shrunk.recipe("demo_finetune", "unused")
    config.augment.update(rand_augment_layers=2, erasing=0.5, mixup=0.0, cutmix=0.0)

    @jax.jit
    def clips(batch):
        return classify_step.make_rows(config, 2, batch, jax.random.key(0), jax.random.key(1))[0]

    np.testing.assert_allclose(clips({n: a[::-1] for n, a in batch.items()})[::-1], clips(batch))


def test_every_augmentation_has_its_own_values(monkeypatch):
    values = {
        **{"rand_augment_layers": 3, "rand_augment_magnitude": 6.0, "rand_augment_std": 0.25},
        **{"rand_augment_probability": 0.4, "erasing": 0.3, "mixup": 0.7, "cutmix": 0.9},
        **{"mix_probability": 0.8, "cutmix_share": 0.6, "label_smoothing": 0.2},
        **{"mix_group_size": 4},
    }
    config = shrunk.recipe("demo_finetune", "unused")
    config.augment.update(values)
    clips, seen = jnp.zeros((8, 8, 32, 32, 3)), {}

    def replace(module, name, result):
        monkeypatch.setattr(module, name, lambda *_, **given: seen.update({name: given}) or result)

    replace(rand_augment, "rand_augment", clips)
    replace(erasing, "erase", clips)
    replace(mixing, "mix", (clips, jnp.zeros((8, 2)), jnp.zeros(8)))
    batch = {"label": jnp.zeros(8, int), "valid": jnp.ones(8, bool), "index": jnp.arange(8)}
    classify_step.make_rows(config, 2, batch, jax.random.key(0), jax.random.key(1))
    rand = {"num_layers": 3, "magnitude": 6.0, "magnitude_std": 0.25, "probability": 0.4}
    mix = {"mixup_alpha": 0.7, "cutmix_alpha": 0.9, "probability": 0.8, "switch_probability": 0.6}
    assert seen == {
        "rand_augment": rand | {"size": 32},
        "erase": {"probability": 0.3},
        "mix": mix | {"num_classes": 2, "label_smoothing": 0.2, "group_size": 4},
    }
