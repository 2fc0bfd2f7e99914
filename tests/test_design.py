"""The places in the code that docs/design.md names are there."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]


def test_every_decision_names_code_that_exists():
    text = (ROOT / "docs" / "design.md").read_text()
    places = re.findall(r"`(\S+\.py)` \(`(\S+)`\)", text)
    assert len(places) == len(re.findall(r"^- \*\*", text, re.MULTILINE))
    for file, name in places:
        *_, last = name.split(".")
        pattern = rf"^ *(def|class) {last}\b|^{last}\b.* = "
        assert re.search(pattern, (ROOT / file).read_text(), re.MULTILINE), f"{file}: {name}"
