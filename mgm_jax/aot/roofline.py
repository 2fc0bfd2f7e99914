"""How long a step takes at the published peaks of a chip."""

import dataclasses
import itertools
from collections.abc import Sequence

from jax.sharding import Mesh

from mgm_jax.aot.chips import Chip
from mgm_jax.aot.collectives import Collective


@dataclasses.dataclass(frozen=True)
class StepTime:
    """Seconds that a step takes at least, by what limits it.

    Attributes:
        compute: FLOPs of a chip over its peak.
        memory: Bytes to and from its memory over its bandwidth.
        network: Bytes that it sends to other chips over the bandwidth of the links in use.
    """

    compute: float
    memory: float
    network: float

    @property
    def best(self) -> float:
        """The longest of the three: all overlap, each at its peak."""
        return max(self.compute, self.memory, self.network)

    @property
    def estimate(self) -> float:
        """The sum of the three: nothing overlaps, each at its peak."""
        return self.compute + self.memory + self.network

    @property
    def limit(self) -> str:
        """Which of the three is the longest."""
        return max(("compute", "memory", "network"), key=lambda name: getattr(self, name))


def step_time(
    chip: Chip,
    flops: float,
    memory_bytes: float,
    collectives: Sequence[Collective],
    mesh: Mesh,
) -> StepTime:
    """Estimates a step's time.

    Args:
        chip: The chip.
        flops: Of one chip in a step.
        memory_bytes: To and from the memory of one chip in a step.
        collectives: Of the step's program.
        mesh: The devices it runs on. An operation along an axis whose chips lie along one of the
            torus's dimensions has that dimension's share of the links.

    Returns:
        The time.
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
