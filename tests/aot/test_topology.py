import importlib.util

import pytest

from mgm_jax.aot import topology
from mgm_jax.errors import ConfigError

MISSING = {"libtpu": "requirements-tpu.txt", "jax_cuda13_plugin": "requirements-gpu-check.txt"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v9:2x2", "v4, v5e, v5p, v6e, a100, h100, h200, b200"),
        ("v5e", "v5e:16x16"),
        ("v4:4x4", "v4:4x4x4"),
        ("v5e:0x4", "2 dimensions"),
        ("v5e:3x1", "3 chips"),
        ("h100", "h100:8"),
        ("a100:16", "at most 8, as in a100:8, or hosts and GPUs of each, as in a100:2x8"),
        ("h200:1x2x8", "h200:2x8"),
    ],
)
def test_topologies_that_do_not_exist_are_refused(name, message):
    with pytest.raises(ConfigError, match=message):
        topology.parse_topology(name)


def test_a_gpu_has_the_part_of_its_memory_that_jax_takes(monkeypatch):
    for name in (topology.MEMORY_FRACTION, "XLA_PYTHON_CLIENT_MEM_FRACTION"):
        monkeypatch.delenv(name, raising=False)
    assert topology.parse_topology("h100:8").memory == 60e9
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.9")
    assert topology.parse_topology("h100:8").memory == 72e9
    monkeypatch.setenv(topology.MEMORY_FRACTION, "1.5")
    with pytest.raises(ConfigError, match=r"MEM_FRACTION=1\.5 must be above 0 and at most 1"):
        topology.parse_topology("h100:8")


@pytest.mark.parametrize(
    ("package", "name"), [("libtpu", "v5e:4x4"), ("jax_cuda13_plugin", "h100:8")]
)
def test_a_missing_compiler_is_named(package, name):
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(ConfigError, match=f"pip install -r {MISSING[package]}"):
        topology.topology_devices(name)
