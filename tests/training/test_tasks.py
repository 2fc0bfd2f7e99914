import pytest
import shrunk

from mgm_jax.errors import ConfigError
from mgm_jax.training import tasks


def test_videos_without_classes_cannot_be_classified(video_folder):
    config = shrunk.recipe("demo_finetune", video_folder)
    with pytest.raises(ConfigError, match="at least 2 classes, these have 0"):
        tasks.make_task(config, ())


def test_a_probe_without_an_encoder_is_refused(video_folder):
    config = shrunk.recipe("small_linear_probe", video_folder)
    with pytest.raises(ConfigError, match=r"--config\.init_from=WORKDIR"):
        tasks.make_task(config, ("a", "b"))


def test_an_unknown_task_names_those_there_are(video_folder):
    config = shrunk.recipe("demo_finetune", video_folder, task="pretraining")
    with pytest.raises(ConfigError, match="pretrain, finetune, linear_probe"):
        tasks.make_task(config, ("a", "b"))
