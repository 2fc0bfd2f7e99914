"""The pretraining step, beside Hugging Face's VideoMAE in PyTorch, eager and compiled.

    source launch/environment.sh   # sets memory allocation on a CPU, as for training
    python -m benchmarks.train_step --model_size=B --mask_ratios=0.75,0.9

Needs requirements-parity.txt, and a C++ compiler for torch.compile; --against= runs without
PyTorch. Steps run in turns. The step of mgm_jax is that of `configs/ssv2_pretrain.py`, starting
from the decoder's planes and motion (colour conversion, crop, masks, loss, gradient, AdamW);
PyTorch's starts from RGB clips and masks on the device. Utilisation is the rate of the model's
matrix products over that of one large product in JAX. Memory is the device's peak, or the process's
on a CPU.
"""

import os
from collections.abc import Mapping, Sequence

from absl import app, flags

from benchmarks.step_contenders import (
    COMPILED,
    EAGER,
    MASKS,
    MATMUL,
    OURS,
    Setting,
    matmul_side,
    measure,
    step_flops,
)
from benchmarks.timing import print_table


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
    names = [OURS, MASKS, *values.against, MATMUL]
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
