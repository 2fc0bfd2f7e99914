import pytest
import shrunk

from mgm_jax.errors import ConfigError
from mgm_jax.masking import strategies, variants


@pytest.fixture
def config(tmp_path):
    return shrunk.recipe("demo_pretrain", tmp_path)


def test_words_after_a_strategy_change_it_alone(config):
    changed = variants.with_strategy(config, "mgm+window+guide_first_tubelet")
    assert changed.masking.strategy == "mgm"
    assert changed.masking.guidance == "window"
    assert changed.masking.guide_first_tubelet
    plain = variants.with_strategy(config, "random_tube")
    assert plain.masking.strategy == "random_tube"
    assert plain.masking.guidance == "peak"
    assert config.masking.strategy == "mgm"
    assert config.masking.guidance == "peak"


def test_words_of_a_source_of_motion_leave_the_rest_as_it_is(config):
    changed = variants.with_motion(config, "flow+median")
    assert changed.data.motion == "flow"
    assert changed.masking.camera_compensation == "median"
    assert variants.with_motion(changed, "codec+none").masking.camera_compensation == "none"


def test_groups_are_written_out_once_each():
    names = variants.all_strategies(["smm", "all", "variants", "mgm+window"])
    assert names[0] == "smm"
    assert sorted(names) == sorted([*strategies.STRATEGIES, *variants.MGM_VARIANTS])


@pytest.mark.parametrize("change", [variants.with_strategy, variants.with_motion])
def test_unknown_words_are_named_with_near_ones(config, change):
    wrong, near = (
        ("mgm+windo", "window") if change is variants.with_strategy else ("medain", "median")
    )
    with pytest.raises(ConfigError, match=f"unknown word.*did you mean {near}"):
        change(config, wrong)
    with pytest.raises(ConfigError, match="unknown word 'x'; did you mean"):
        change(config, "mgm+x" if change is variants.with_strategy else "x")
