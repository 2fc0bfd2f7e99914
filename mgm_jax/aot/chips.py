"""Published peaks of Cloud TPU chips, and the names of their topologies.

Source: Google Cloud's TPU documentation, one page for each version
(cloud.google.com/tpu/docs/v4, v5e, v5p, v6e; read in 2026): bf16 peak, memory bandwidth,
inter-chip interconnect. Of the memory (32, 16, 95 and 32 GB there) counts what libtpu 0.0.42 lets a
program have. For v5e, v5p and v6e the pages give the interconnect of a chip
in both directions together (400, 1200 and 800 GB/s), of which half counts here. The page of v4
gives none; 6 links of 50 GB/s are those of "TPU v4: An Optically Reconfigurable Supercomputer"
(Jouppi et al., 2023). Cores are the vCPUs of the virtual machines that multi-host slices consist
of, four chips each (cloud.google.com/kubernetes-engine/docs/concepts/plan-tpus).
"""

import dataclasses
import math
import re

from mgm_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Chip:
    """What a chip can do at most.

    Attributes:
        flops: Multiplications and additions in bfloat16, FLOP/s.
        memory: What a program can have of its memory, bytes: a little less than is sold.
        memory_bandwidth: Of that memory, bytes/s.
        interconnect: What a chip sends to others by all its links, bytes/s.
        torus_dimensions: Dimensions that its links span.
        host_cores: vCPUs of a host.
        compile_options: Of `get_topology_desc`.
    """

    flops: float
    memory: float
    memory_bandwidth: float
    interconnect: float
    torus_dimensions: int
    host_cores: int
    compile_options: tuple[tuple[str, str], ...] = ()


CHIPS_PER_HOST = 4

# A v4 chip has two cores that work as one device, which libtpu wants to be told.
CHIPS = {
    "v4": Chip(275e12, 30.75 * 2**30, 1.2e12, 300e9, 3, 240, (("chip_config_name", "megacore"),)),
    "v5e": Chip(197e12, 15.75 * 2**30, 819e9, 200e9, 2, 112),
    "v5p": Chip(459e12, 95.74 * 2**30, 2765e9, 600e9, 3, 208),
    "v6e": Chip(918e12, 31.25 * 2**30, 1638e9, 400e9, 2, 180),
}


def parse_topology(topology: str) -> tuple[Chip, tuple[int, ...]]:
    """Reads the name of a topology.

    Args:
        topology: As v5e:16x16 or v4:4x4x8.

    Returns:
        The chip, and the chips along each dimension.

    Raises:
        ConfigError: No such chip, or not so many dimensions.
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
    dimensions = tuple(int(size) for size in shape.split("x"))
    if math.prod(dimensions) % CHIPS_PER_HOST:
        raise ConfigError(
            f"--topology={topology} has {math.prod(dimensions)} chips, and a host has "
            f"{CHIPS_PER_HOST}; choose a multiple"
        )
    return chip, dimensions
