"""Our pretraining step against Hugging Face's VideoMAE in PyTorch, eager and compiled.

    python -m benchmarks.train_step --model_size=B --mask_ratios=0.75,0.9

prints Markdown; docs/train_step.md keeps it. It needs torch and transformers besides
requirements.txt (requirements-parity.txt), and for torch.compile a C++ compiler.
"""

import functools
import math
import multiprocessing
import multiprocessing.connection
import os
import resource
import time
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags

from benchmarks.timing import interleaved_medians, markdown_table, when_and_where

OURS, EAGER, COMPILED, MATMUL = "mgm_jax", "PyTorch eager", "PyTorch compiled", "matmul"

LEAST_SPEEDUP = 1.3  # Over the better of the PyTorch ones: the project's goal.
LEAST_UTILISATION = {"cpu": 0.6, "gpu": 0.5}  # Of the measured rate of a large matmul.

# The backward pass takes twice the matrix products of the forward pass.
_FORWARD_AND_BACKWARD = 3
_MATMUL_SIDE = {"cpu": 4096, "gpu": 8192}

HOW_TO_READ = """\
*How to read it.* Wall-clock per step, median; all run in turns, each in a process of its own.
mgm_jax's step starts from the planes and motion vectors of the decoder: colour conversion, crop,
drawing of masks, loss, gradient, AdamW. Hugging Face's starts from finished RGB clips and masks on
the device. FLOPs are those of the model's matrix products (`mgm_jax/flops.py`), three times the
forward pass, the same for all. Utilisation is their rate over that of one large matrix product
in jax of the same dtype, measured in the same run. Memory is {memory}."""


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

    from mgm_jax import masking
    from mgm_jax.models.vit import SIZES

    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder, decoder = SIZES[size].encoder, SIZES[size].decoder
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
    num_masked = masking.num_masked((8, 14, 14), mask_ratio)
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


def _recipe(size: str, mask_ratio: float, dtype: str) -> Any:
    from configs import ssv2_pretrain

    config = ssv2_pretrain.get_config()
    config.model.size, config.model.dtype = size, dtype
    config.masking.ratio = mask_ratio
    return config


def _make(name: str, setting: tuple[str, float, int, str]) -> Callable[[], None]:
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


def _serve(
    pipe: multiprocessing.connection.Connection, name: str, setting: tuple[str, float, int, str]
) -> None:
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

    def __init__(self, name: str, setting: tuple[str, float, int, str]):
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


def measure(
    names: Sequence[str], setting: tuple[str, float, int, str], rounds: int
) -> dict[str, tuple[float, int]]:
    """Times steps side by side.

    Args:
        names: Of `OURS`, `EAGER`, `COMPILED`, `MATMUL`.
        setting: Model size, mask ratio, clips of a batch, dtype.
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

    from mgm_jax import masking
    from mgm_jax.flops import count_flops
    from mgm_jax.models import mae

    config = _recipe(size, mask_ratio, "float32")
    data = config.data
    model = mae.make_autoencoder(config.model, data.clip_frames, data.size)
    num_masked = masking.num_masked(model.grid, mask_ratio)
    num_visible = math.prod(model.grid) - num_masked
    clips = jax.ShapeDtypeStruct((1, data.clip_frames, data.size, data.size, 3), "float32")
    ids = (jax.ShapeDtypeStruct((1, count), "int32") for count in (num_visible, num_masked))
    inputs = (clips, *ids)
    params = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    return _FORWARD_AND_BACKWARD * count_flops(model.apply, params, *inputs)[0]


def make_rows(
    results: dict[str, tuple[float, int]], setting: tuple[str, float, int, str], rate: float
) -> list[tuple[str, ...]]:
    """The table's rows of one setting.

    Args:
        results: Of `measure`.
        setting: As there.
        rate: Operations per second of the large matrix product.

    Returns:
        Cells by row.
    """
    size, mask_ratio, clips, _ = setting
    best = min((results[name][0] for name in (EAGER, COMPILED) if name in results), default=None)
    rows = []
    for name, (seconds, num_bytes) in results.items():
        if name == MATMUL:
            continue
        utilisation = step_flops(size, mask_ratio) * clips / seconds / rate
        rows.append(
            (
                f"ViT-{size}, ratio {mask_ratio}: {name}",
                f"{clips / seconds:.3g}",
                "" if best is None else f"{best / seconds:.2f}",
                f"{100 * utilisation:.0f} %",
                f"{num_bytes / 2**30:.1f} GiB",
            )
        )
    return rows


def goals(
    results: dict[str, tuple[float, int]],
    setting: tuple[str, float, int, str],
    rate: float,
    device: str,
) -> str:
    """Says whether a setting meets the project's goals.

    Args:
        results: Of `measure`.
        setting: As there.
        rate: Operations per second of the large matrix product.
        device: "cpu" or "gpu".

    Returns:
        One line of Markdown.
    """
    size, mask_ratio, clips, _ = setting
    seconds = results[OURS][0]
    utilisation = step_flops(size, mask_ratio) * clips / seconds / rate
    least = LEAST_UTILISATION[device]
    parts = []
    others = [results[name][0] for name in (EAGER, COMPILED) if name in results]
    if others:
        speedup = min(others) / seconds
        verdict = "met" if speedup >= LEAST_SPEEDUP else "missed"
        parts.append(f"{speedup:.2f}x of the better PyTorch (goal {LEAST_SPEEDUP}x: {verdict})")
    verdict = "met" if utilisation >= least else "missed"
    parts.append(
        f"{100 * utilisation:.0f} % of a large matmul (goal {100 * least:.0f} %: {verdict})"
    )
    return f"- ViT-{size}, ratio {mask_ratio}: {'; '.join(parts)}."


def _define_flags() -> None:
    flags.DEFINE_list("model_size", ["S", "B"], "Sizes of the model.")
    flags.DEFINE_list("mask_ratios", ["0.75", "0.9"], "Mask ratios.")
    flags.DEFINE_integer("clips", None, "Clips of a batch; 4 on a CPU, 64 else, by default.")
    flags.DEFINE_list("against", [EAGER, COMPILED], "Which of Hugging Face's steps to run.")
    flags.DEFINE_integer("rounds", 3, "How often everything is timed.", lower_bound=1)


def main(argv: Sequence[str]) -> None:
    """Measures what the flags say and prints the report."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    # All take turns on the same accelerator.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    values = flags.FLAGS
    on_cpu = jax.default_backend() == "cpu"
    device = "cpu" if on_cpu else "gpu"
    dtype = "float32" if on_cpu else "bfloat16"
    clips = values.clips or (4 if on_cpu else 64)
    names = [OURS, *values.against, MATMUL]
    flops_of_matmul = make_matmul(dtype)[1]
    rows, verdicts, rates = [], [], []
    for size in values.model_size:
        for mask_ratio in map(float, values.mask_ratios):
            setting = (size, mask_ratio, clips, dtype)
            results = measure(names, setting, values.rounds)
            rates.append(flops_of_matmul / results[MATMUL][0])
            rows += make_rows(results, setting, rates[-1])
            verdicts.append(goals(results, setting, rates[-1], device))
    memory = "the process's largest resident set" if on_cpu else "the device's peak"
    header = ("", "clips/s", "of the better PyTorch", "utilisation", "memory")
    command = (
        f"    python -m benchmarks.train_step --model_size={','.join(values.model_size)} "
        f"--mask_ratios={','.join(values.mask_ratios)} --clips={clips} --rounds={values.rounds}"
    )
    where = when_and_where(None if on_cpu else jax.devices()[0].device_kind)
    print(
        "\n\n".join(
            [
                "# How fast a training step is",
                command,
                f"{where} {dtype}, {clips} clips of 16 frames of 224x224; a large matrix product "
                f"ran at {min(rates) / 1e9:.0f} to {max(rates) / 1e9:.0f} GFLOP/s.",
                HOW_TO_READ.format(memory=memory),
                markdown_table(header, rows),
                "\n".join(verdicts),
            ]
        )
    )


if __name__ == "__main__":
    _define_flags()
    app.run(main)
