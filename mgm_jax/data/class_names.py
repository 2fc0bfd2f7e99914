"""Names of classes: the same in training, in prepared records and in what is written."""

import unicodedata
from collections.abc import Iterable

from mgm_jax.errors import ConfigError, printable

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def splits_among(folders: Iterable[str]) -> dict[str, str]:
    """The split of each folder that is named like one, in any case: `train`, `val`, `test`, ..."""
    found = {folder: _SPLITS.get(folder.casefold()) for folder in folders}
    return {folder: split for folder, split in found.items() if split is not None}


def name_classes(given: Iterable[str], where: str) -> dict[str, str]:
    """The name of each class by the name that a folder or an annotation file gives it.

    Names are visible, on one line, without spaces around them and in Unicode's composed form:
    tensorflow-datasets keeps one stripped name on each line of a file. `where` is for messages.

    Raises:
        ConfigError: A blank name, or two that a reader cannot tell apart.
    """
    named: dict[str, str] = {}
    first: dict[str, str] = {}
    for raw in sorted(set(given)):
        named[raw] = printable(unicodedata.normalize("NFC", raw).strip())
        if not named[raw]:
            raise ConfigError(f"{where}: the class {raw!r} has a blank name; give it another")
        same = {first.setdefault(shown, raw) for shown in (_look(raw), named[raw])} - {raw}
        if same:
            raise ConfigError(
                f"{where}: {same.pop()!a} and {raw!a} differ by capitals, spaces or "
                "invisible characters only; give both one name, or different ones"
            )
    return named


def _look(name: str) -> str:
    """What names that look alike have in common."""
    composed = unicodedata.normalize("NFC", name)
    # A surrogate stands for a byte that is not UTF-8, which does tell names apart.
    shown = (c if c.isprintable() or "\ud800" <= c <= "\udfff" else " " for c in composed)
    return " ".join("".join(shown).casefold().split())
