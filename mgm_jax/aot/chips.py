"""Published peak rates of TPU chips and NVIDIA GPUs.

TPUs: Google Cloud's documentation (cloud.google.com/tpu/docs/v4, v5e, v5p, v6e; read in 2026), with
three exceptions. Memory (32, 16, 95 and 32 GB there) is what libtpu 0.0.42 lets a program use. The
interconnect of v5e, v5p and v6e is half of the published value (400, 1200 and 800 GB/s), which
counts both directions; that of v4, six links of 50 GB/s, is from Jouppi et al., 2023, "TPU v4: An
Optically Reconfigurable Supercomputer".

GPUs: the SXM modules A100 80GB, H100 and H200, and HGX B200. FLOP/s are NVIDIA's without sparsity
(glennklockwood.com/garden/processors, read in 2026), memory its nominal size. NVLink is half of the
published value, which counts both directions. The network is that of NVIDIA's DGX systems: one
adapter a GPU, of 200 Gb/s (A100) or 400 Gb/s. Memory bandwidth, and all that describes the GPU to
the compiler, are those of OpenXLA's own descriptions (xla/backends/gpu/target_config/specs).
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Chip:
    """Peak rates of a chip.

    Attributes:
        flops: bfloat16, FLOP/s.
        memory: Bytes; of a TPU, those that a program can use.
        memory_bandwidth: Bytes/s.
        interconnect: Bytes/s that a chip sends over all its links.
        passes: Products in bfloat16 that take as long as one of float32 arrays, by the precision
            asked for: default, high, highest (`jax.lax.Precision`).
    """

    flops: float
    memory: float
    memory_bandwidth: float
    interconnect: float
    passes: tuple[int, int, int] = (1, 3, 6)


@dataclasses.dataclass(frozen=True)
class Tpu(Chip):
    """A TPU chip.

    Attributes:
        torus_dimensions: Dimensions of the torus that the links form.
        compile_options: For `get_topology_desc`.
    """

    torus_dimensions: int = 2
    compile_options: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Gpu(Chip):
    """An NVIDIA GPU, whose `interconnect` is NVLink, inside a host.

    Attributes:
        network: Bytes/s that a GPU sends to other hosts.
        name: As the driver names it.
        capability: Compute capability.
        multiprocessors: Their number.
        clock: Highest, GHz.
        l2_cache: Bytes.
        shared_memory: Of a multiprocessor, bytes.
    """

    network: float = 50e9
    name: str = ""
    capability: tuple[int, int] = (9, 0)
    multiprocessors: int = 132
    clock: float = 1.98
    l2_cache: int = 50 * 2**20
    shared_memory: int = 228 * 2**10

    @property
    def target(self) -> str:
        """The GPU as the compiler's `GpuTargetConfigProto`, in text form."""
        major, minor = self.capability
        return f"""
            platform_name: "CUDA"
            device_description_str: "{self.name}"
            gpu_device_info {{
              cuda_compute_capability {{ major: {major} minor: {minor} }}
              core_count: {self.multiprocessors}
              fpus_per_core: {64 if self.capability == (8, 0) else 128}
              clock_rate_ghz: {self.clock}
              device_memory_size: {self.memory:.0f}
              memory_bandwidth: {self.memory_bandwidth:.0f}
              l2_cache_size: {self.l2_cache}
              shared_memory_per_core: {self.shared_memory}
              shared_memory_per_block_optin: {self.shared_memory - 1024}
              shared_memory_per_block: {48 * 1024}
              registers_per_core_limit: {64 * 1024}
              registers_per_block_limit: {64 * 1024}
              threads_per_core_limit: 2048
              threads_per_block_limit: 1024
              threads_per_warp: 32
              block_dim_limit_x: {2**31 - 1}
              block_dim_limit_y: {2**16 - 1}
              block_dim_limit_z: {2**16 - 1}
            }}"""


CHIPS_PER_HOST = 4  # Of TPUs.
GPUS_PER_HOST = 8

TPUS = {
    # libtpu must be told that the two cores of a v4 chip work as one device.
    "v4": Tpu(
        275e12,
        30.75 * 2**30,
        1.2e12,
        300e9,
        torus_dimensions=3,
        compile_options=(("chip_config_name", "megacore"),),
    ),
    "v5e": Tpu(197e12, 15.75 * 2**30, 819e9, 200e9),
    "v5p": Tpu(459e12, 95.74 * 2**30, 2765e9, 600e9, torus_dimensions=3),
    "v6e": Tpu(918e12, 31.25 * 2**30, 1638e9, 400e9),
}

# Float32 products take the default precision in TF32, at half the rate of bfloat16, and others
# outside of the tensor cores: 19.5, 67 and 75 TFLOP/s.
GPUS = {
    "a100": Gpu(
        312e12,
        80e9,
        2039e9,
        300e9,
        (2, 16, 16),
        network=25e9,
        name="NVIDIA A100-SXM4-80GB",
        capability=(8, 0),
        multiprocessors=108,
        clock=1.41,
        l2_cache=40 * 2**20,
        shared_memory=164 * 2**10,
    ),
    "h100": Gpu(989e12, 80e9, 3350e9, 450e9, (2, 15, 15), name="NVIDIA H100 80GB HBM3"),
    "h200": Gpu(989e12, 141e9, 4800e9, 450e9, (2, 15, 15), name="NVIDIA H200"),
    "b200": Gpu(
        2250e12,
        180e9,
        7672e9,
        900e9,
        (2, 30, 30),
        name="NVIDIA B200",
        capability=(10, 0),
        multiprocessors=148,
        clock=1.965,
        l2_cache=132_644_864,
    ),
}

CHIPS: dict[str, Tpu | Gpu] = {**TPUS, **GPUS}
