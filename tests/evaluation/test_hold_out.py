import collections

import pytest

from mgm_jax.data.sources import make_source
from mgm_jax.errors import ConfigError
from mgm_jax.evaluation.hold_out import hold_out


def listed(tmp_path, rows):
    for row in rows:
        (tmp_path / row[0]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / row[0]).write_text(row[0])
    lines = [",".join(row) for row in [("path", "label", "group"), *rows]]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    return make_source("csv", str(tmp_path / "list.csv"), "train")


def test_groups_stay_together_and_every_class_gives_some(tmp_path):
    clips = [
        (f"v_{name}_g{group:02d}_c{clip:02d}.avi", name, "")
        for name in ("Archery", "Biking")
        for group in range(1, 11)
        for clip in range(1, 4 + group % 3)
    ]
    people = [
        (f"{person}_{name}.avi", name, person) for name in ("run", "walk") for person in "abcdefghi"
    ]
    large = [(f"large/{number}.avi", "swim", "pool") for number in range(9)]
    large += [(f"large/{number}.avi", "swim", "lake") for number in range(9, 12)]
    source = listed(tmp_path, [*clips, *people, *large, ("alone.avi", "alone", "")])
    train, held = hold_out(source, 0.2, 0)
    facts = train.facts(), held.facts()
    assert not {f.group for f in facts[0]} & {f.group for f in facts[1]}
    counts = collections.Counter(source.class_names[f.label] for f in facts[1])
    assert counts.pop("swim") == 3
    assert 6 <= counts.pop("Archery") <= 10
    assert 6 <= counts.pop("Biking") <= 10
    assert counts == {"run": 2, "walk": 2}
    assert len(train) + len(held) == len(source)
    with pytest.raises(ConfigError, match="no class has two"):
        hold_out(listed(tmp_path / "one", [("a.avi", "a", ""), ("b.avi", "b", "")]), 0.2, 0)
