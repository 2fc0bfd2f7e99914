import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rendered
import shrunk

from mgm_jax.data.sources import FolderSource
from mgm_jax.errors import ConfigError
from mgm_jax.evaluation import evaluator as evaluators
from mgm_jax.evaluation.evaluator import Evaluator, Predictions
from mgm_jax.training import sharding
from mgm_jax.training.state import TrainState


def predict(state, batch):
    """Class 1 is as likely as a view is light; the second head takes that times the state."""
    light = batch["luma"].astype(jnp.float32).mean(axis=(1, 2, 3)) / 255
    ones = jnp.stack([light, light * state.params])
    rows = {name: batch[name] for name in ("index", "valid", "label")}
    return {"probabilities": jnp.stack([1 - ones, ones], axis=-1), **rows}


def state_of(factor):
    nothing = jnp.zeros(())
    return TrainState(nothing, jnp.float32(factor), {}, {}, nothing)


def run(folder, devices, batch_size=5, **views):
    config = shrunk.recipe("demo_finetune", folder, eval__batch_size=batch_size)
    mesh = sharding.make_mesh({"data": -1, "fsdp": 1, "tensor": 1}, jax.devices()[:devices])
    state_sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    views = {"temporal_views": 2, "spatial_views": 3} | views
    evaluator = Evaluator(config, FolderSource(str(folder)), mesh, predict, state_sharding, **views)
    return evaluator.run(state_of(0.5))


def test_every_view_of_every_video_counts_once_on_any_number_of_devices(video_folder):
    made = {(n, b): run(video_folder, n, b) for n, b in ((1, 5), (1, 24), (2, 5), (8, 3))}
    first = made[1, 5]
    assert first.num_views.tolist() == [6] * 12
    assert first.labels.tolist() == [0] * 6 + [1] * 6
    np.testing.assert_allclose(first.probabilities.sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(
        first.probabilities[1, :, 1], first.probabilities[0, :, 1] / 2, rtol=1e-5
    )
    for other in made.values():
        np.testing.assert_allclose(other.probabilities, first.probabilities, rtol=1e-6)
        np.testing.assert_array_equal(other.num_views, first.num_views)
        np.testing.assert_array_equal(other.labels, first.labels)


def test_views_are_averaged(video_folder):
    one = [run(video_folder, 1, temporal_views=1, spatial_views=1)]
    assert one[0].num_views.tolist() == [1] * 12
    assert not np.array_equal(one[0].probabilities, run(video_folder, 1).probabilities)


def test_an_unreadable_video_is_not_counted_and_named(tmp_path):
    folder = rendered.write_folder(tmp_path, num_videos=4)
    (folder / "odd" / "video_03.mp4").write_bytes(b"no video")
    config = shrunk.recipe("demo_finetune", folder, data__max_bad_fraction=0.5)
    mesh = sharding.make_mesh({"data": -1, "fsdp": 1, "tensor": 1}, jax.devices()[:1])
    place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    evaluator = Evaluator(
        config, FolderSource(str(folder)), mesh, predict, place, temporal_views=1, spatial_views=1
    )
    made = evaluator.run(state_of(1))
    assert made.read.tolist() == [True, True, True, False]
    assert made.names[3].endswith("video_03.mp4")
    assert np.isfinite(made.accuracy()).all()


def predictions(probabilities, labels, read=None):
    probabilities = np.asarray(probabilities, np.float32)[None]
    read = np.ones(len(labels), int) if read is None else np.asarray(read)
    names = tuple(f"video {i}" for i in range(len(labels)))
    return Predictions(probabilities, np.asarray(labels), read, names, ("a", "b", "c"))


def test_accuracy_counts_the_first_k_and_leaves_the_unread_out():
    made = predictions(
        [[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.0, 0.0, 0.0]],
        [0, 1, 2, 0],
        [1, 1, 1, 0],
    )
    np.testing.assert_allclose(made.accuracy(1), [1 / 3])
    np.testing.assert_allclose(made.accuracy(2), [2 / 3])
    np.testing.assert_allclose(made.accuracy(3), [1])


def test_a_model_that_says_nothing_is_right_nowhere():
    assert predictions([[1 / 3] * 3] * 2, [0, 1]).accuracy(1) == 0


def test_other_classes_are_refused(video_folder, tmp_path):
    config = shrunk.recipe("demo_finetune", video_folder)
    with pytest.raises(ConfigError, match=r"2 against 3; .*without videos: up"):
        evaluators.make_eval_source(config, ("even", "odd", "up"))


def test_evenly_spaced_keeps_classes_and_ends(video_folder):
    source = FolderSource(str(video_folder))
    some = evaluators.evenly_spaced(source, 3)
    assert [some[i].video_id for i in range(len(some))] == [source[i].video_id for i in (0, 5, 11)]
    assert some.class_names == source.class_names
    assert some.describe(2) == source.describe(11)
    assert evaluators.evenly_spaced(source, 0) is source
