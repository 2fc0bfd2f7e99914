"""Published peak rates of Cloud TPU chips, and the names of their topologies.

Source: Google Cloud's TPU documentation (cloud.google.com/tpu/docs/v4, v5e, v5p, v6e; read in
2026), with three exceptions. Memory (32, 16, 95 and 32 GB there) is what libtpu 0.0.42 lets a
program use. The interconnect of v5e, v5p and v6e is half of the published value (400, 1200 and
800 GB/s), which counts both directions; that of v4, six links of 50 GB/s, is from Jouppi et al.,
2023, "TPU v4: An Optically Reconfigurable Supercomputer".
"""

import dataclasses
import math
import re

from mgm_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Chip:
    """Peak rates of a chip.

    Attributes:
        flops: bfloat16, FLOP/s.
        memory: Bytes that a program can use.
        memory_bandwidth: Bytes/s.
        interconnect: Bytes/s that a chip sends over all its links.
        torus_dimensions: Dimensions of the torus that the links form.
        compile_options: For `get_topology_desc`.
    """

    flops: float
    memory: float
    memory_bandwidth: float
    interconnect: float
    torus_dimensions: int
    compile_options: tuple[tuple[str, str], ...] = ()


CHIPS_PER_HOST = 4

# libtpu must be told that the two cores of a v4 chip work as one device.
CHIPS = {
    "v4": Chip(275e12, 30.75 * 2**30, 1.2e12, 300e9, 3, (("chip_config_name", "megacore"),)),
    "v5e": Chip(197e12, 15.75 * 2**30, 819e9, 200e9, 2),
    "v5p": Chip(459e12, 95.74 * 2**30, 2765e9, 600e9, 3),
    "v6e": Chip(918e12, 31.25 * 2**30, 1638e9, 400e9, 2),
}


def parse_topology(topology: str) -> Chip:
    """The chip of a topology such as v5e:16x16 or v4:4x4x8.

    Raises:
        ConfigError: There is no such chip, or no slice of this shape.
    """
    name, _, shape = topology.partition(":")
    if name not in CHIPS:
        raise ConfigError(
            f"--topology={topology}: no chip {name!r}; choose one of {', '.join(CHIPS)}, as in "
            "v5e:16x16"
        )
    chip = CHIPS[name]
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", shape) or (
        shape.count("x") + 1 != chip.torus_dimensions
    ):
        example = "16x16" if chip.torus_dimensions == 2 else "4x4x4"
        raise ConfigError(
            f"--topology={topology}: {name} slices have {chip.torus_dimensions} dimensions, as in "
            f"{name}:{example}"
        )
    if (num_chips := math.prod(map(int, shape.split("x")))) % CHIPS_PER_HOST:
        raise ConfigError(
            f"--topology={topology} has {num_chips} chips, and a host has {CHIPS_PER_HOST}; choose "
            "a multiple"
        )
    return chip
