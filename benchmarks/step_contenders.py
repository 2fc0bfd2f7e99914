"""Training steps that are timed side by side, each in a process of its own."""

import functools
import math
import multiprocessing
import multiprocessing.connection
import resource
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.timing import interleaved_medians

OURS, EAGER, COMPILED, MATMUL = "mgm_jax", "PyTorch eager", "PyTorch compiled", "matmul"

Setting = tuple[str, float, int, str]
"""Model size, mask ratio, clips of a batch, dtype."""

# The backward pass takes twice the matrix products of the forward pass.
_FORWARD_AND_BACKWARD = 3
_MATMUL_SIDE = {"cpu": 4096, "gpu": 8192}


def make_ours(size: str, mask_ratio: float, clips: int, dtype: str) -> Callable[[], None]:
    """Makes a function that runs a training step of configs/ssv2_pretrain.py and waits for it."""
    from benchmarks.mask_cost import step_function

    return step_function(_recipe(size, mask_ratio, dtype), clips)[1]


def make_hugging_face(
    size: str, mask_ratio: float, clips: int, dtype: str, compiled: bool
) -> Callable[[], None]:
    """Makes a function that runs a training step of VideoMAEForPreTraining and waits for it."""
    import torch
    import transformers

    from mgm_jax.masking import strategies
    from mgm_jax.models.vit import SIZES

    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder, decoder = SIZES[size]["encoder"], SIZES[size]["decoder"]
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
    pixels = torch.randn(clips, config.num_frames, 3, config.image_size, config.image_size)
    num_masked = strategies.num_masked((8, 14, 14), mask_ratio)
    ranks = torch.rand(clips, 8 * 14 * 14).argsort(dim=1)
    mask = (ranks < num_masked).to(device)
    pixels = pixels.to(device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = forward(pixels, bool_masked_pos=mask).loss
        loss.backward()
        optimizer.step()
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"the loss is {loss.item()}")

    return step


def make_matmul(dtype: str) -> tuple[Callable[[], None], float]:
    """Makes a function that runs one large matrix product in jax; also gives its operations."""
    import jax

    side = _MATMUL_SIDE["cpu" if jax.default_backend() == "cpu" else "gpu"]
    keys = jax.random.split(jax.random.key(0))
    left, right = (jax.random.normal(key, (side, side), dtype) for key in keys)
    multiply = jax.jit(lambda a, b: a @ b)
    return lambda: jax.block_until_ready(multiply(left, right)), 2.0 * side**3


def our_attention() -> str:
    """Which of `attention.dot_product_attention`'s implementations mgm_jax's step is timed with."""
    import jax

    return "chunked" if jax.default_backend() == "cpu" else "xla"


def _recipe(size: str, mask_ratio: float, dtype: str) -> Any:
    from configs import ssv2_pretrain

    config = ssv2_pretrain.get_config()
    config.model.size, config.model.dtype = size, dtype
    config.model.attention = our_attention()
    config.masking.ratio = mask_ratio
    return config


def _make(name: str, setting: Setting) -> Callable[[], None]:
    if name == MATMUL:
        return make_matmul(setting[-1])[0]
    if name == OURS:
        return make_ours(*setting)
    return make_hugging_face(*setting, compiled=name == COMPILED)


def _peak_bytes(name: str) -> int:
    """Most memory so far: of the accelerator, or of this process where there is none."""
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
    """In a process of its own: runs a step whenever asked, and answers how it went."""
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
    """A step in a process of its own, so that memory is its own and no library disturbs another.

    Attributes:
        peak_bytes: Most memory of any step so far.
    """

    def __init__(self, name: str, setting: Setting):
        """Starts it and waits until it has run a step.

        Raises:
            RuntimeError: It could not; with the reason.
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
            problem = f"its process ended with code {self._process.exitcode}"
        if problem is not None:
            raise RuntimeError(f"{name}: {problem}")

    def __call__(self) -> float:
        """Runs a step; returns seconds."""
        self._pipe.send(True)
        seconds, self.peak_bytes = self._pipe.recv()
        return seconds

    def close(self) -> None:
        """Ends the process."""
        self._pipe.send(False)
        self._process.join()


def measure(names: Sequence[str], setting: Setting, rounds: int) -> dict[str, tuple[float, int]]:
    """Times steps side by side.

    Args:
        names: Of `OURS`, `EAGER`, `COMPILED`, `MATMUL`.
        setting: What to train on.
        rounds: Of measurements.

    Returns:
        Seconds per step and most bytes, by name.

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


@functools.cache
def step_flops(size: str, mask_ratio: float) -> float:
    """Operations of a training step's matrix products, per clip."""
    import jax

    from mgm_jax.aot.flops import count_flops
    from mgm_jax.masking import strategies
    from mgm_jax.models import mae

    config = _recipe(size, mask_ratio, "float32")
    data = config.data
    model = mae.make_autoencoder(config)
    num_masked = strategies.num_masked(model.grid, mask_ratio)
    num_visible = math.prod(model.grid) - num_masked
    clips = jax.ShapeDtypeStruct((1, data.clip_frames, data.size, data.size, 3), "float32")
    ids = (jax.ShapeDtypeStruct((1, count), "int32") for count in (num_visible, num_masked))
    inputs = (clips, *ids)
    params = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    return _FORWARD_AND_BACKWARD * count_flops(model.apply, params, *inputs)[0]
