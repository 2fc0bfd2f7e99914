import jax
import numpy as np
import pytest
import shrunk

from mgm_jax.data.centre_clips import CentreClips
from mgm_jax.data.sources import FolderSource
from mgm_jax.errors import ConfigError
from mgm_jax.evaluation.validation_loss import ValidationLoss
from mgm_jax.train import train
from mgm_jax.training import tasks
from mgm_jax.training.pretrain_step import make_reconstruct_fn


@pytest.mark.parametrize("norm_pix_loss", [False, True])
def test_numbers_are_those_of_frames_painted_by_hand(video_folder, norm_pix_loss):
    changes = {"norm_pix_loss": norm_pix_loss, "norm_pix_eps": 0.1}
    config = shrunk.recipe("demo_pretrain", video_folder, **changes)
    source = FolderSource(str(video_folder))
    task = tasks.make_task(config, ())
    params = jax.jit(task.init_fn)().params
    found = ValidationLoss(config, task.model, source).measure(params)

    expected: dict[str, list[float]] = {name: [] for name in found}
    reconstruct_fn = jax.jit(make_reconstruct_fn(config, task.model))
    for clip in map(CentreClips(config, source).__getitem__, range(len(source))):
        made = reconstruct_fn(params, clip.batch, jax.random.key(0))
        frames, masked_ids = np.asarray(made["clips"][0]), np.asarray(made["masked_ids"][0])
        tubelets = frames.reshape(4, 2, 4, 8, 4, 8, 3).transpose(0, 2, 4, 6, 1, 3, 5)
        tubelets = tubelets.reshape(64, 3, 128)
        hidden, shown = tubelets[masked_ids], np.delete(tubelets, masked_ids, axis=0)
        predicted = np.asarray(made["predictions"][0])
        if norm_pix_loss:
            spread = hidden.std(axis=2, ddof=1, keepdims=True) + 0.1
            hidden = (hidden - hidden.mean(axis=2, keepdims=True)) / spread
            expected["loss"].append(np.mean((hidden - predicted) ** 2))
            continue
        deviation = np.array([0.229, 0.224, 0.225])[:, None]
        expected["loss"].append(np.mean(((hidden - predicted) / deviation) ** 2))
        error = np.mean((hidden - predicted.clip(0, 1)) ** 2)
        expected["psnr"].append(-10 * np.log10(error))
        error = np.mean((hidden - shown.mean(axis=(0, 2))[:, None]) ** 2)
        expected["psnr_mean_colour"].append(-10 * np.log10(error))
    for name, values in expected.items():
        assert found[name] == pytest.approx(np.mean(values), rel=1e-3)


@pytest.mark.slow
def test_pretraining_reports_the_loss_on_videos_held_out(video_folder, tmp_path):
    changes = {"eval__holdout": 0.3, "pictures_every": 1, "num_pictures": 1}
    config = shrunk.recipe("demo_pretrain", video_folder, **changes)
    train(config, str(tmp_path))
    lines = shrunk.logged(tmp_path)
    assert len({line["eval/loss"] for line in lines if "eval/loss" in line}) == 2


def test_a_split_that_is_trained_on_is_refused(video_folder, tmp_path):
    config = shrunk.recipe("demo_pretrain", video_folder, eval__split="train")
    with pytest.raises(ConfigError, match="are trained on"):
        train(config, str(tmp_path))
