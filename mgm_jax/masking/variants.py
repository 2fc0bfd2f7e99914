"""Names for variants of a config's masks and of its source of motion, for comparisons.

Words after a strategy change it: `mgm+window+guide_first_tubelet`. A source of motion is one or
more words: `codec`, `flow+median`. What the words do not name stays as in the config.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from mgm_jax.config import mask_ratio
from mgm_jax.errors import ConfigError
from mgm_jax.masking import strategies

STRATEGY_WORDS: Mapping[str, tuple[str, Any]] = {
    "window": ("masking.guidance", "window"),
    "guide_first_tubelet": ("masking.guide_first_tubelet", True),
}
MOTION_WORDS: Mapping[str, tuple[str, Any]] = {
    **{name: ("data.motion", name) for name in ("auto", "codec", "estimate", "flow")},
    **{name: ("masking.camera_compensation", name) for name in ("none", "median")},
}
MGM_VARIANTS = ("mgm+window", "mgm+guide_first_tubelet", "mgm+window+guide_first_tubelet")


def all_strategies(names: Sequence[str]) -> list[str]:
    """Expands `all` (every strategy of the paper) and `variants` (those of `mgm` beyond it)."""
    groups = {"all": tuple(strategies.STRATEGIES), "variants": MGM_VARIANTS}
    return list(dict.fromkeys(one for name in names for one in groups.get(name, (name,))))


def with_strategy(config: ConfigDict, name: str) -> ConfigDict:
    """A copy of the config with another strategy, e.g. `mgm+window`, and the same mask ratio.

    Raises:
        ConfigError: A word is unknown, or the strategy is not `mgm` and has words, or the config is
            of a task without masks.
    """
    if "masking" not in config:
        raise ConfigError(
            f"config.task={config.task} masks nothing; give a recipe of pretraining with --config"
        )
    strategy, *words = name.split("+")
    if words and strategy != "mgm":
        raise ConfigError(f"--strategies={name}: {'+'.join(words)} changes mgm alone")
    changed = _with_words(config, words, STRATEGY_WORDS, name, "--strategies")
    changed.masking.ratio = mask_ratio(config.masking)
    changed.masking.strategy = strategy
    return changed


def with_motion(config: ConfigDict, name: str) -> ConfigDict:
    """A copy of the config with another source of motion, e.g. `flow+median`.

    Raises:
        ConfigError: A word is unknown.
    """
    changed = _with_words(config, name.split("+"), MOTION_WORDS, name, "--motions")
    if changed.data.motion != "flow":
        changed.data.flow_path = ""  # That of the others.
    return changed


def _with_words(
    config: ConfigDict,
    words: Sequence[str],
    known: Mapping[str, tuple[str, Any]],
    name: str,
    flag: str,
) -> ConfigDict:
    changed = config.copy_and_resolve_references()
    for word in words:
        if word not in known:
            near = difflib.get_close_matches(word, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise ConfigError(f"{flag}={name}: unknown word {word!r}; {hint}")
        setting, value = known[word]
        changed.update_from_flattened_dict({setting: value})
    return changed
