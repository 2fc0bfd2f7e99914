import pytest
import shrunk

from mgm_jax.data.sources import FolderSource
from mgm_jax.errors import ConfigError
from mgm_jax.evaluation.videos import evenly_spaced, make_eval_source


def test_other_classes_are_refused(video_folder):
    config = shrunk.recipe("demo_finetune", video_folder)
    with pytest.raises(ConfigError, match=r"config\.eval .* 'up' removed"):
        make_eval_source(config, ("even", "odd", "up"))


def test_evenly_spaced_keeps_classes_and_ends(video_folder):
    source = FolderSource(str(video_folder))
    some = evenly_spaced(source, 3)
    assert [some[i].video_id for i in range(len(some))] == [source[i].video_id for i in (0, 5, 11)]
    assert some.class_names == source.class_names
    assert some.describe(2) == source.describe(11)
    assert evenly_spaced(source, 0) is source
