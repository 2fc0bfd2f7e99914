"""Training steps that are timed side by side, each in a process of its own."""

import contextlib
import dataclasses
import functools
import math
import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from ml_collections import ConfigDict

from benchmarks.timing import interleaved_medians

OURS, MASKS, EAGER, COMPILED, MATMUL = (
    *("mgm_jax", "mgm_jax, masks alone", "PyTorch eager", "PyTorch compiled", "matmul"),
)
# JAX and PyTorch are imported in the processes that need them only.

_steps: dict[str, Callable[[], None]] = {}
"""Of this process: its contender's step."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all contenders run.

    Attributes:
        size: Of the model, a name in `vit.SIZES`.
        mask_ratio: Fraction of masked tokens.
        clips: Clips of a batch, of 16 frames of 224x224.
        dtype: Of activations and matrix products.
    """

    size: str
    mask_ratio: float
    clips: int
    dtype: str

    def recipe(self) -> ConfigDict:
        """`configs/ssv2_pretrain.py` with these values and the attention that suits the device."""
        import jax

        from configs import ssv2_pretrain

        config = ssv2_pretrain.get_config()
        config.model.size, config.model.dtype = self.size, self.dtype
        config.model.attention = "chunked" if jax.default_backend() == "cpu" else "xla"
        config.masking.ratio = self.mask_ratio
        return config


def random_batch(config: ConfigDict, clips: int) -> dict[str, np.ndarray]:
    """A batch of a config's shapes, with random pixels and motion."""
    from mgm_jax.data.clip_reader import ReadSpec, blank_clips

    rng = np.random.default_rng(0)
    batch = blank_clips(ReadSpec.from_config(config.data), clips)
    for name in ("luma", "chroma"):
        batch[name] = rng.integers(0, 256, batch[name].shape, np.uint8)
    batch["motion"] = rng.normal(0, 2, batch["motion"].shape).astype(np.float32)
    batch["motion_valid"][:] = True
    batch["yuv_to_rgb"] += np.eye(3, 4, dtype=np.float32) / 255
    return batch | {
        "label": np.zeros(clips, np.int32),
        "valid": np.ones(clips, bool),
        "index": np.arange(clips, dtype=np.uint32),
    }


def make_ours(setting: Setting) -> Callable[[], None]:
    """Makes a function that runs a training step of mgm_jax and waits for it."""
    import jax

    from mgm_jax.data.loader import HOST_FIELDS
    from mgm_jax.training import tasks

    config = setting.recipe()
    task = tasks.make_task(config, (), total_steps=100)
    state = jax.jit(task.init_fn)()
    step_fn = jax.jit(task.step_fn, donate_argnums=0)
    batch = random_batch(config, setting.clips)
    batch = jax.device_put({name: batch[name] for name in batch.keys() - set(HOST_FIELDS)})

    def step() -> None:
        nonlocal state
        state, metrics = step_fn(state, batch)
        jax.block_until_ready((state, metrics))

    return step


def make_masks(setting: Setting) -> Callable[[], None]:
    """Makes a function that draws the motion-guided masks of a batch and waits for them."""
    import jax

    from mgm_jax.data.crops import MOTION_CELL
    from mgm_jax.masking import strategies
    from mgm_jax.models import mae

    config = setting.recipe()
    grid = mae.make_autoencoder(config).grid
    draw = jax.jit(strategies.make_mask_fn(config.masking, grid))
    keys = jax.random.split(jax.random.key(0), setting.clips)
    cells = config.data.size // MOTION_CELL
    magnitude = jax.random.uniform(keys[0], (setting.clips, grid[0], cells, cells))
    return lambda: jax.block_until_ready(draw(keys, magnitude))


def make_hugging_face(setting: Setting, compiled: bool) -> Callable[[], None]:
    """Makes a function that runs a training step of VideoMAEForPreTraining and waits for it."""
    import torch
    import transformers

    from mgm_jax.masking import strategies
    from mgm_jax.models.vit import SIZES

    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder, decoder = SIZES[setting.size]["encoder"], SIZES[setting.size]["decoder"]
    config = transformers.VideoMAEConfig(
        hidden_size=encoder.dim,
        num_hidden_layers=encoder.depth,
        num_attention_heads=encoder.heads,
        intermediate_size=int(encoder.mlp_ratio * encoder.dim),
        decoder_hidden_size=decoder.dim,
        decoder_num_hidden_layers=decoder.depth,
        decoder_num_attention_heads=decoder.heads,
        decoder_intermediate_size=int(decoder.mlp_ratio * decoder.dim),
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

    return 4096 if jax.default_backend() == "cpu" else 8192


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
        MASKS: lambda: make_masks(setting),
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
