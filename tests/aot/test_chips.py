import pytest

from mgm_jax.aot import chips
from mgm_jax.errors import ConfigError


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        ("v9:2x2", "v4, v5e, v5p, v6e"),
        ("v5e", "v5e:16x16"),
        ("v4:4x4", "v4:4x4x4"),
        ("v5e:0x4", "2 dimensions"),
        ("v5e:3x1", "3 chips"),
    ],
)
def test_topologies_that_do_not_exist_are_refused(topology, message):
    with pytest.raises(ConfigError, match=message):
        chips.parse_topology(topology)
