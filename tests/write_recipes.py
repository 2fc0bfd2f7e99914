"""Writes `recipes.json`, what every recipe resolves to: `python -m tests.write_recipes`."""

import json
import sys

sys.path.insert(0, "tests")

import shrunk
from test_recipes import SNAPSHOT, get_config

from mgm_jax import config as config_lib

if __name__ == "__main__":
    recipes = {name: config_lib.to_json(get_config(name)) for name in shrunk.RECIPES}
    SNAPSHOT.write_text(json.dumps(recipes, indent=1, sort_keys=True) + "\n")
