"""Our pretraining step against Hugging Face's VideoMAE in PyTorch, eager and compiled.

    python -m benchmarks.train_step --model_size=B --mask_ratios=0.75,0.9

prints Markdown; docs/train_step.md keeps it. It needs torch and transformers besides
requirements.txt (requirements-parity.txt), and for torch.compile a C++ compiler. On a CPU, source
launch/environment.sh first, as for training: it sets how memory is allocated, for all of them.
"""

import os
from collections.abc import Sequence

from absl import app, flags

from benchmarks.step_contenders import (
    COMPILED,
    EAGER,
    MATMUL,
    OURS,
    Setting,
    make_matmul,
    measure,
    our_attention,
    step_flops,
)
from benchmarks.timing import markdown_table, when_and_where

LEAST_SPEEDUP = 1.3  # Over the better of the PyTorch ones: the project's goal.
LEAST_UTILISATION = {"cpu": 0.6, "gpu": 0.5}  # Of the measured rate of a large matmul.

HOW_TO_READ = """\
*How to read it.* Wall-clock per step, median; all run in turns, each in a process of its own.
mgm_jax's step starts from the planes and motion vectors of the decoder: colour conversion, crop,
drawing of masks, loss, gradient, AdamW; its attention is config.model.attention={attention}.
Hugging Face's starts from finished RGB clips and masks on the device, and its attention is what it
chooses itself. FLOPs are those of the model's matrix products (`mgm_jax/flops.py`), three times the
forward pass, the same for all. Utilisation is their rate over that of one large matrix product
in jax of the same dtype, measured in the same run. Memory is {memory}."""


def make_rows(
    results: dict[str, tuple[float, int]], setting: Setting, rate: float
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
    setting: Setting,
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
    allocation = os.environ.get("GLIBC_TUNABLES")
    command = (
        f"    {f'GLIBC_TUNABLES={allocation} ' if allocation else ''}"
        f"python -m benchmarks.train_step --model_size={','.join(values.model_size)} "
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
                HOW_TO_READ.format(memory=memory, attention=our_attention()),
                markdown_table(header, rows),
                "\n".join(verdicts),
            ]
        )
    )


if __name__ == "__main__":
    _define_flags()
    app.run(main)
