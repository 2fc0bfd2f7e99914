import math

import pytest
import shrunk

from mgm_jax import config as config_lib
from mgm_jax.errors import ConfigError

NONSENSE = (-2, math.nan, math.inf, -math.inf, 10**18, (), [1, "x"], [2, 1, -1], b"", object())
RECIPES = ("ssv2_pretrain", "demo_pretrain", "k400_finetune", "transfer_linear_probe")
# Each name in the first recipe that has it.
NAMES = {
    name: recipe
    for recipe in reversed(RECIPES)
    for name, _ in config_lib.flatten(shrunk.get_config(recipe))
}


def test_the_recipes_are_right():
    for recipe in RECIPES:
        config_lib.check_values(shrunk.get_config(recipe))


@pytest.mark.parametrize("name", sorted(NAMES))
def test_nonsense_is_refused_by_the_full_name_of_its_value(name):
    right = shrunk.get_config(NAMES[name])
    for value in NONSENSE:
        if name == "optimizer.clip_norm" and value == 10**18:
            continue  # Clips nothing.
        config = right.copy_and_resolve_references()
        with config.ignore_type(), config.unlocked():
            config.update_from_flattened_dict({name: value})
        with pytest.raises(ConfigError, match=rf"config\.{name}\b"):
            config_lib.check_values(config)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("epochs", 0.0, "a number from above 0 to 1000000000"),
        ("masking.ratio", 1.0, "a number from above 0 to below 1"),
        ("data.size", 2.5, "a whole number from 1 to 8192"),
        ("data.area", (0.5, 0.2), "2 numbers from 1e-06 to 1 in ascending order"),
    ],
)
def test_the_message_says_what_is_allowed(name, value, expected):
    config = shrunk.get_config("ssv2_pretrain")
    with config.ignore_type(), config.unlocked():
        config.update_from_flattened_dict({name: value})
    with pytest.raises(ConfigError) as refusal:
        config_lib.check_values(config)
    assert f"config.{name}={value} must be {expected}" in str(refusal.value)
