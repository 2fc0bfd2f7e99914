import pytest

from mgm_jax.aot import chips
from mgm_jax.errors import ConfigError


def test_names_of_topologies_are_read():
    chip, dimensions = chips.parse_topology("v5e:16x16")
    assert (chip, dimensions) == (chips.CHIPS["v5e"], (16, 16))
    assert chips.parse_topology("v4:4x4x8")[1] == (4, 4, 8)


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        ("v9:2x2", "no chip 'v9'; choose one of v4, v5e, v5p, v6e"),
        ("v5e", "2 dimensions, as in v5e:16x16"),
        ("v5e:4x4x4", "2 dimensions"),
        ("v4:4x4", "3 dimensions, as in v4:4x4x4"),
        ("v5e:0x4", "2 dimensions"),
        ("v5e:3x1", "3 chips, and a host has 4"),
    ],
)
def test_others_are_refused_with_what_works(topology, message):
    with pytest.raises(ConfigError, match=message):
        chips.parse_topology(topology)


def test_newer_chips_are_faster_than_those_they_replace():
    # A slip of a digit or a unit in the table shows here.
    for older, newer in (("v4", "v5p"), ("v5e", "v6e")):
        old, new = chips.CHIPS[older], chips.CHIPS[newer]
        for name in ("flops", "memory", "memory_bandwidth", "interconnect"):
            assert 1 < getattr(new, name) / getattr(old, name) < 5, name
