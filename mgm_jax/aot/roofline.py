"""Roofline estimate of a step's time at the published peaks of a chip."""

import collections
import dataclasses
import itertools
from collections.abc import Sequence

from jax.sharding import Mesh

from mgm_jax.aot.chips import Gpu, Tpu
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
    chip: Tpu | Gpu,
    flops: float,
    memory_bytes: float,
    collectives: Sequence[Collective],
    mesh: Mesh,
) -> StepTime:
    """Estimates the time of a step from the FLOPs and the memory traffic of one chip.

    A collective whose chips lie along one dimension of a TPU's torus uses only the links of that
    dimension. One between hosts of GPUs takes the adapters of those GPUs of a host that take part,
    if they are slower than NVLink.
    """
    network = sum(
        collective.sent / _sending_rate(mesh, collective.axes, chip) for collective in collectives
    )
    return StepTime(flops / chip.flops, memory_bytes / chip.memory_bandwidth, network)


def _sending_rate(mesh: Mesh, axes: tuple[str, ...], chip: Tpu | Gpu) -> float:
    """Bytes/s at which a chip sends to others along these axes."""
    places = [slice(None) if axis in axes else 0 for axis in mesh.axis_names]
    group = list(mesh.devices[tuple(places)].flat)
    if isinstance(chip, Gpu):
        hosts = collections.Counter(device.process_index for device in group)
        if len(hosts) == 1:
            return chip.interconnect
        return min(chip.interconnect, chip.network * min(hosts.values()))
    used = sum(
        any(here != there for here, there in itertools.pairwise(along))
        for along in zip(*(device.coords for device in group), strict=True)
    )
    return chip.interconnect * max(used, 1) / chip.torus_dimensions
