"""Roofline estimate of a step's time at the published peaks of a chip."""

import dataclasses
import itertools
from collections.abc import Sequence

from jax.sharding import Mesh

from mgm_jax.aot.chips import Chip
from mgm_jax.aot.collectives import Collective


@dataclasses.dataclass(frozen=True)
class StepTime:
    """Seconds of a step, each at its peak rate.

    Attributes:
        compute: FLOPs of a chip over its peak rate.
        memory: Bytes to and from its memory over the memory bandwidth.
        network: Bytes that it sends over the bandwidth of the links in use.
    """

    compute: float
    memory: float
    network: float

    @property
    def best(self) -> float:
        """If all three overlap: the longest."""
        return max(self.compute, self.memory, self.network)

    @property
    def estimate(self) -> float:
        """If nothing overlaps: the sum."""
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
    """Estimates the time of a step.

    An operation along mesh axes that lie along one dimension of the torus uses the links of that
    dimension only.

    Args:
        chip: The chip.
        flops: FLOPs of one chip.
        memory_bytes: Bytes to and from the memory of one chip.
        collectives: The step's communication.
        mesh: The devices it runs on.
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
