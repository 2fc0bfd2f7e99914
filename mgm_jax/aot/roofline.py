"""Roofline estimate of a step's time at the published peaks of a chip."""

import dataclasses
import itertools
from collections.abc import Sequence

from jax.sharding import Mesh

from mgm_jax.aot.chips import Chip
from mgm_jax.aot.collectives import Collective


@dataclasses.dataclass(frozen=True)
class StepTime:
    """Seconds that a chip needs for a step at its peak rates.

    Attributes:
        compute: For its FLOPs.
        memory: To read from and write to its memory.
        network: To send to other chips, over the links in use.
    """

    compute: float
    memory: float
    network: float

    @property
    def best(self) -> float:
        """The longest of the three, as if they overlap fully."""
        return max(self.compute, self.memory, self.network)

    @property
    def estimate(self) -> float:
        """The sum, as if nothing overlaps."""
        return self.compute + self.memory + self.network

    @property
    def limit(self) -> str:
        """Name of the longest of the three."""
        return max(("compute", "memory", "network"), key=lambda name: getattr(self, name))


def step_time(
    chip: Chip,
    flops: float,
    memory_bytes: float,
    collectives: Sequence[Collective],
    mesh: Mesh,
) -> StepTime:
    """Estimates the time of a step from the FLOPs and the memory traffic of one chip.

    A collective whose chips lie along one dimension of the torus uses only the links of that
    dimension.
    """
    network = sum(
        collective.sent / (chip.interconnect * _share_of_links(mesh, collective.axes, chip))
        for collective in collectives
    )
    return StepTime(flops / chip.flops, memory_bytes / chip.memory_bandwidth, network)


def _share_of_links(mesh: Mesh, axes: tuple[str, ...], chip: Chip) -> float:
    places = [slice(None) if axis in axes else 0 for axis in mesh.axis_names]
    coordinates = [device.coords for device in mesh.devices[tuple(places)].flat]
    used = sum(
        any(here != there for here, there in itertools.pairwise(along))
        for along in zip(*coordinates, strict=True)
    )
    return max(used, 1) / chip.torus_dimensions
