import pytest
import shrunk

from mgm_jax.errors import ConfigError
from mgm_jax.masking import strategies, variants


@pytest.fixture
def config(tmp_path):
    return shrunk.recipe("demo_pretrain", tmp_path)


def test_words_change_what_they_name_alone(config):
    changed = variants.with_strategy(config, "mgm+window+guide_first_tubelet").masking
    assert changed.guide_first_tubelet
    assert (changed.strategy, changed.guidance) == ("mgm", "window")
    plain = variants.with_strategy(config, "random_tube").masking
    assert (plain.strategy, plain.guidance) == ("random_tube", "peak")
    assert (config.masking.strategy, config.masking.guidance) == ("mgm", "peak")
    config.data.flow_path = "flow"
    changed = variants.with_motion(config, "flow+median")
    assert (changed.data.motion, changed.data.flow_path) == ("flow", "flow")
    assert changed.masking.camera_compensation == "median"
    changed = variants.with_motion(changed, "codec+none")
    assert changed.masking.camera_compensation == "none"
    assert changed.data.flow_path == ""  # Which has no effect there.


def test_groups_are_written_out_once_each():
    names = variants.all_strategies(["smm", "all", "variants", "mgm+window"])
    assert names[0] == "smm"
    assert sorted(names) == sorted([*strategies.STRATEGIES, *variants.MGM_VARIANTS])


@pytest.mark.parametrize(
    ("change", "words", "near"),
    [
        (variants.with_strategy, "mgm+windo", "window"),
        (variants.with_motion, "medain", "median"),
    ],
)
def test_unknown_words_are_named_with_near_ones(config, change, words, near):
    with pytest.raises(ConfigError, match=f"{words[-5:]}.*did you mean {near}"):
        change(config, words)
