import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rendered
import shrunk

from mgm_jax.data.clip_reader import ReadSpec
from mgm_jax.data.clips import LoadViews
from mgm_jax.data.sources import FolderSource
from mgm_jax.errors import TooManySkippedError
from mgm_jax.evaluation.evaluator import Evaluator
from mgm_jax.training import sharding


def predict(variables, batch):
    """Class 1 is as probable as a view is bright; the second head multiplies that by a factor."""
    light = batch["luma"].astype(jnp.float32).mean(axis=(1, 2, 3)) / 255
    ones = jnp.stack([light, light * variables["params"]])
    rows = {name: batch[name] for name in ("index", "valid", "label")}
    return {"probabilities": jnp.stack([1 - ones, ones], axis=-1), **rows}


def run(folder, devices, batch_size=5, views=(2, 3), **changes):
    config = shrunk.recipe("demo_finetune", folder, eval__batch_size=batch_size, **changes)
    mesh = sharding.make_mesh({"data": -1, "fsdp": 1, "tensor": 1}, jax.devices()[:devices])
    views = dict(zip(("temporal_views", "spatial_views"), views, strict=True))
    evaluator = Evaluator(config, mesh, predict)
    return evaluator.run({"params": jnp.float32(0.5)}, FolderSource(str(folder)), **views)


@pytest.mark.slow
def test_every_view_of_every_video_counts_once_on_any_number_of_devices(video_folder):
    results = [run(video_folder, n, b) for n, b in ((1, 5), (1, 24), (2, 5), (8, 3))]
    first, second = results[0]
    assert first.num_views.tolist() == [6] * 12
    assert first.labels.tolist() == [0] * 6 + [1] * 6
    np.testing.assert_allclose(first.probabilities.sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(second.probabilities[:, 1], first.probabilities[:, 1] / 2, rtol=1e-5)
    for other, _ in results:
        np.testing.assert_allclose(other.probabilities, first.probabilities, rtol=1e-6)
        np.testing.assert_array_equal(other.num_views, first.num_views)
        np.testing.assert_array_equal(other.labels, first.labels)
    config = shrunk.recipe("demo_finetune", video_folder)
    spec, source = ReadSpec.from_config(config.data), FolderSource(str(video_folder))
    loader = LoadViews(source, spec, temporal_views=2, copies=3)
    items = [loader.random_map((item, item), np.random.default_rng(0)) for item in range(4)]
    light = np.array([clip["luma"].mean(axis=(1, 2, 3)) / 255 for clip in items])
    expected = light.reshape(2, -1).mean(axis=1)
    np.testing.assert_allclose(first.probabilities[:2, 1], expected, rtol=1e-5)
    one_view, _ = run(video_folder, 1, views=(1, 1))
    assert one_view.num_views.tolist() == [1] * 12
    assert not np.array_equal(one_view.probabilities, first.probabilities)


def test_an_unreadable_video_is_not_counted_and_its_error_is_kept(tmp_path):
    folder = rendered.write_folder(tmp_path, num_videos=4)
    (folder / "odd" / "video_03.mp4").write_bytes(b"no video")
    predictions, _ = run(folder, 1, views=(1, 1), data__max_bad_fraction=0.5)
    assert predictions.read.tolist() == [True, True, True, False]
    assert predictions.names[3].endswith("video_03.mp4")
    assert predictions.errors.keys() == {3}
    assert "video_03.mp4" in predictions.errors[3]
    assert np.isfinite(predictions.accuracy())


def test_a_video_of_which_a_view_is_unreadable_has_the_mean_of_the_others(video_folder):
    def half(variables, batch):
        made = predict(variables, batch)
        return made | {"valid": made["valid"] & (batch["index"] % 2 == 0)}

    config = shrunk.recipe("demo_finetune", video_folder, data__max_bad_fraction=0.5)
    mesh = sharding.make_mesh({"data": -1, "fsdp": 1, "tensor": 1}, jax.devices()[:1])
    source = FolderSource(str(video_folder))
    views = {"temporal_views": 2, "spatial_views": 1}
    found, _ = Evaluator(config, mesh, half).run({"params": jnp.float32(0.5)}, source, **views)
    assert found.num_views.tolist() == [1] * 12
    np.testing.assert_allclose(found.probabilities.sum(axis=-1), 1, rtol=1e-5)


def test_videos_that_other_hosts_could_not_read_count_too(video_folder):
    config = shrunk.recipe("demo_finetune", video_folder, data__max_bad_fraction=0.1)
    mesh = sharding.make_mesh({"data": -1, "fsdp": 1, "tensor": 1}, jax.devices()[:1])
    evaluator = Evaluator(config, mesh, predict)
    names = [str(video) for video in range(10)]
    evaluator.check_read(np.eye(10, dtype=int)[3], 1, names)
    with pytest.raises(TooManySkippedError, match=r"2 of 10 clips.*among them: 3, 7\."):
        evaluator.check_read(np.eye(10, dtype=int)[[3, 7]].sum(axis=0), 1, names)
