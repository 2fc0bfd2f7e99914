"""Training steps that are timed side by side, each in a process of its own."""

import dataclasses
import functools
import math
import multiprocessing
import multiprocessing.connection
import resource
import time
from collections.abc import Callable, Sequence

import numpy as np
from ml_collections import ConfigDict

from benchmarks.timing import interleaved_medians

OURS, MASKS, EAGER, COMPILED, MATMUL = (
    *("mgm_jax", "mgm_jax, masks alone", "PyTorch eager", "PyTorch compiled", "matmul"),
)
# JAX and PyTorch are imported in the processes that need them only.


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


def make_matmul(dtype: str) -> tuple[Callable[[], None], float]:
    """Makes a function that runs one large matrix product in JAX; also gives its FLOPs."""
    import jax

    side = 4096 if jax.default_backend() == "cpu" else 8192
    keys = jax.random.split(jax.random.key(0))
    left, right = (jax.random.normal(key, (side, side), dtype) for key in keys)
    multiply = jax.jit(lambda a, b: a @ b)
    return lambda: jax.block_until_ready(multiply(left, right)), 2.0 * side**3


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


def _make(name: str, setting: Setting) -> Callable[[], None]:
    if name == MATMUL:
        return make_matmul(setting.dtype)[0]
    if name == OURS:
        return make_ours(setting)
    if name == MASKS:
        return make_masks(setting)
    return make_hugging_face(setting, compiled=name == COMPILED)


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


def _serve(pipe: multiprocessing.connection.Connection, name: str, setting: Setting) -> None:
    """Runs in the contender's process: a step for each True received, until a False."""
    try:
        step = _make(name, setting)
        step()  # Compiles.
    except BaseException as error:
        pipe.send(repr(error))
        raise
    pipe.send(None)
    while pipe.recv():
        start = time.perf_counter()
        step()
        pipe.send((time.perf_counter() - start, _peak_bytes(name)))


class Contender:
    """A step in a process of its own, for memory of its own.

    Attributes:
        peak_bytes: Largest memory of any step so far.
    """

    def __init__(self, name: str, setting: Setting):
        """Starts the process and waits until it has compiled the step.

        Raises:
            RuntimeError: The step cannot run.
        """
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, name, setting), daemon=True)
        self._process.start()
        other.close()
        self.peak_bytes = 0
        try:
            problem = self._pipe.recv()
        except EOFError:
            self._process.join()
            problem = f"its process ended with exit code {self._process.exitcode}"
        if problem is not None:
            raise RuntimeError(f"{name}: {problem}")

    def __call__(self) -> float:
        """Runs a step; returns wall-clock seconds."""
        self._pipe.send(True)
        seconds, self.peak_bytes = self._pipe.recv()
        return seconds

    def close(self) -> None:
        """Ends the process."""
        self._pipe.send(False)
        self._process.join()


def measure(names: Sequence[str], setting: Setting, rounds: int) -> dict[str, tuple[float, int]]:
    """Median seconds per step and peak bytes of each contender, run in turns.

    Raises:
        RuntimeError: One of them cannot run.
    """
    contenders: dict[str, Contender] = {}
    try:
        for name in names:
            contenders[name] = Contender(name, setting)
        seconds = interleaved_medians(contenders, rounds)
    finally:
        for contender in contenders.values():
            contender.close()
    return {name: (seconds[name], contenders[name].peak_bytes) for name in names}
