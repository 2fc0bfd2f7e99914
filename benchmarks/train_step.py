"""The pretraining step, beside Hugging Face's VideoMAE in PyTorch, eager and compiled.

    source launch/environment.sh   # sets memory allocation on a CPU, as for training
    python -m benchmarks.train_step --model_size=B --mask_ratios=0.75,0.9

Needs requirements-parity.txt, and a C++ compiler for torch.compile; --against= runs without
PyTorch. Steps run in turns, each in a process of its own. The step of mgm_jax is that of
`configs/ssv2_pretrain.py`, starting from the decoder's planes and motion (colour conversion, crop,
masks, loss, gradient, AdamW); PyTorch's starts from RGB clips and masks on the device. Utilisation
is the rate of the model's matrix products over that of one large product in JAX. Memory is the
device's peak, or the process's on a CPU.
"""

import contextlib
import dataclasses
import functools
import math
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from absl import app, flags
from ml_collections import ConfigDict

from benchmarks.timing import interleaved_medians, print_table

OURS, MATMUL = "mgm_jax", "matmul"
EAGER, COMPILED = "PyTorch eager", "PyTorch compiled"
# JAX and PyTorch are imported in the processes that need them only.

_steps: dict[str, Callable[[], None]] = {}
"""Of this process: its contender's step."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all contenders run.

    Attributes:
        size: Of the model, a name in `vit.SIZES`.
        mask_ratio: Fraction of masked tokens.
        clips: Clips of a batch, of 16 frames.
        dtype: Of activations and matrix products.
        attention: A value of `config.model.attention`.
        pixels: Height and width of the frames.
    """

    size: str
    mask_ratio: float
    clips: int
    dtype: str
    attention: str = "auto"
    pixels: int = 224

    def recipe(self) -> ConfigDict:
        """`configs/ssv2_pretrain.py` with these values."""
        from configs import ssv2_pretrain

        config = ssv2_pretrain.get_config()
        config.model.size, config.model.dtype = self.size, self.dtype
        config.model.attention, config.data.size = self.attention, self.pixels
        config.masking.ratio = self.mask_ratio
        return config


def device_batch(config: ConfigDict, clips: int) -> dict[str, np.ndarray]:
    """What travels to the device of a batch of a config's shapes, with random pixels and motion."""
    from mgm_jax.data.clip_reader import ReadSpec, blank_clips
    from mgm_jax.data.loader import HOST_FIELDS

    rng = np.random.default_rng(0)
    batch = blank_clips(ReadSpec.from_config(config.data), clips)
    for name in ("luma", "chroma"):
        batch[name] = rng.integers(0, 256, batch[name].shape, np.uint8)
    batch["motion"] = rng.normal(0, 2, batch["motion"].shape).astype(np.float32)
    batch["motion_valid"][:] = True
    batch["yuv_to_rgb"] += np.eye(3, 4, dtype=np.float32) / 255
    batch = {name: values for name, values in batch.items() if name not in HOST_FIELDS}
    return batch | {
        "label": np.zeros(clips, np.int32),
        "valid": np.ones(clips, bool),
        "index": np.arange(clips, dtype=np.uint32),
    }


def make_ours(setting: Setting) -> Callable[[], None]:
    """Makes a function that runs a training step of mgm_jax and waits for it."""
    import jax

    from mgm_jax.training import sharding, tasks
    from mgm_jax.training.state import abstract_state

    config = setting.recipe()
    task = tasks.make_task(config, (), total_steps=100)
    mesh = sharding.make_mesh(config.mesh.to_dict(), jax.devices()[:1])
    places = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(task.init_fn, mesh))
    state = jax.jit(task.init_fn, out_shardings=places)()
    step_fn = tasks.jit_step(task, mesh, places)
    batch = jax.device_put(device_batch(config, setting.clips))

    def step() -> None:
        nonlocal state
        state, metrics = step_fn(state, batch)
        jax.block_until_ready((state, metrics))

    return step


def make_hugging_face(setting: Setting, compiled: bool) -> Callable[[], None]:
    """Makes a function that runs a training step of VideoMAEForPreTraining and waits for it."""
    import torch
    import transformers

    from mgm_jax.convert import hugging_face
    from mgm_jax.convert.architecture import Architecture
    from mgm_jax.masking import strategies
    from mgm_jax.models.vit import SIZES

    device = "cuda" if torch.cuda.is_available() else "cpu"
    ours = Architecture(tubelet=(2, 16, 16), **SIZES[setting.size])
    config = transformers.VideoMAEConfig(
        **hugging_face.make_config(ours, 16, setting.pixels, (), True)
    )
    model = transformers.VideoMAEForPreTraining(config).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05)
    forward = torch.compile(model) if compiled else model
    side = config.image_size
    pixels = torch.randn(setting.clips, config.num_frames, 3, side, side).to(device)
    grid = (config.num_frames // config.tubelet_size, *[side // config.patch_size] * 2)
    ranks = torch.rand(setting.clips, math.prod(grid)).argsort(dim=1)
    mask = (ranks < strategies.num_masked(grid, setting.mask_ratio)).to(device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=setting.dtype == "bfloat16"):
            loss = forward(pixels, bool_masked_pos=mask).loss
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def matmul_side() -> int:
    """Rows and columns of the matrices that `MATMUL` multiplies."""
    import jax

    return 2048 if jax.default_backend() == "cpu" else 8192


def make_matmul(dtype: str) -> Callable[[], None]:
    """Makes a function that runs one large matrix product in JAX and waits for it."""
    import jax

    keys = jax.random.split(jax.random.key(0))
    left, right = (jax.random.normal(key, (matmul_side(),) * 2, dtype) for key in keys)
    multiply = jax.jit(lambda a, b: a @ b)
    return lambda: jax.block_until_ready(multiply(left, right))


@functools.cache
def step_flops(setting: Setting) -> float:
    """FLOPs of the matrix products of a training step: three times those of the forward pass."""
    import jax

    from mgm_jax.aot.flops import count_flops
    from mgm_jax.masking import strategies
    from mgm_jax.models import mae

    config = setting.recipe()
    data, model = config.data, mae.make_autoencoder(config)
    num_masked = strategies.num_masked(model.grid, setting.mask_ratio)
    counts = (math.prod(model.grid) - num_masked, num_masked)
    inputs = [jax.ShapeDtypeStruct((1, data.clip_frames, data.size, data.size, 3), "float32")]
    inputs += [jax.ShapeDtypeStruct((1, count), "int32") for count in counts]
    params = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    return 3 * setting.clips * count_flops(model.apply, params, *inputs)[0]


def _peak_bytes(name: str) -> int:
    """Largest memory so far, of the accelerator, or of this process on a CPU."""
    if name in (EAGER, COMPILED):
        import torch

        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated()
    else:
        import jax

        if jax.default_backend() != "cpu":
            return jax.devices()[0].memory_stats()["peak_bytes_in_use"]
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _compile(name: str, setting: Setting) -> None:
    """Makes a contender's step in its process, and runs it once."""
    makers = {
        OURS: lambda: make_ours(setting),
        EAGER: lambda: make_hugging_face(setting, compiled=False),
        COMPILED: lambda: make_hugging_face(setting, compiled=True),
        MATMUL: lambda: make_matmul(setting.dtype),
    }
    _steps[name] = makers[name]()
    _steps[name]()


def _run(name: str) -> tuple[float, int]:
    """Wall-clock seconds of a step, and the largest memory of any so far."""
    start = time.perf_counter()
    _steps[name]()
    return time.perf_counter() - start, _peak_bytes(name)


def measure(names: Sequence[str], setting: Setting, rounds: int) -> dict[str, tuple[float, int]]:
    """Median seconds per step and peak bytes of each contender, run in turns.

    Raises:
        RuntimeError: One of them cannot run.
    """
    runs: dict[str, Callable[[], float]] = {}
    peaks: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        for name in names:
            process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
            stack.enter_context(process)
            try:
                process.submit(_compile, name, setting).result()
            except Exception as error:
                raise RuntimeError(f"{name}: {error!r}") from error

            def run(name: str = name, process: ProcessPoolExecutor = process) -> float:
                seconds, peaks[name] = process.submit(_run, name).result()
                return seconds

            runs[name] = run
        seconds = interleaved_medians(runs, rounds)
    return {name: (seconds[name], peaks[name]) for name in names}


def make_rows(results: Mapping[str, tuple[float, int]], setting: Setting) -> list[tuple[str, ...]]:
    """Rows of the table from the results of `measure`."""
    peak = 2 * matmul_side() ** 3 / results[MATMUL][0]
    fastest = min((results[name][0] for name in (EAGER, COMPILED) if name in results), default=0.0)
    rows = []
    for name, (seconds, num_bytes) in results.items():
        cells = ["", "", "", f"{num_bytes / 2**30:.1f}"]
        if name in (OURS, EAGER, COMPILED):
            cells[0] = f"{setting.clips / seconds:.3g}"
            cells[1] = f"{fastest / seconds:.2f}" if fastest else ""
            cells[2] = f"{100 * step_flops(setting) / seconds / peak:.0f} %"
        label = f"ViT-{setting.size}, ratio {setting.mask_ratio}: {name}"
        rows.append((label, f"{1e3 * seconds:.1f}", *cells))
    return rows


def main(_: Sequence[str]) -> None:
    """Measures and prints the table."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # Processes share the device.
    import jax

    values = flags.FLAGS
    device = jax.devices()[0].device_kind
    on_cpu = jax.default_backend() == "cpu"
    # CPUs emulate bfloat16, which is slow.
    dtype, clips = ("float32", values.clips or 4) if on_cpu else ("bfloat16", values.clips or 64)
    names = [OURS, *values.against, MATMUL]
    rows = []
    for size in values.model_size:
        for ratio in map(float, values.mask_ratios):
            setting = Setting(size, ratio, clips, dtype)
            rows += make_rows(measure(names, setting, values.rounds), setting)
    header = ("", "ms", "clips/s", "speed over PyTorch's", "utilisation", "memory, GiB")
    print_table(header, rows, f"{device}, {dtype}, batches of {clips} clips")


if __name__ == "__main__":
    flags.DEFINE_list("model_size", ["S", "B"], "Sizes of the model.")
    flags.DEFINE_list("mask_ratios", ["0.75", "0.9"], "Mask ratios.")
    flags.DEFINE_integer("clips", None, "Clips of a batch; by default 4 on a CPU, 64 elsewhere.")
    flags.DEFINE_list("against", [EAGER, COMPILED], "PyTorch's steps to run.")
    flags.DEFINE_integer("rounds", 3, "Times each step is run.", lower_bound=1)
    app.run(main)
