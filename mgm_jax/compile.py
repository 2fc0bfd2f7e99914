"""Checks what a run needs on TPUs or NVIDIA GPUs, on a machine without them.

    python -m mgm_jax.compile --config=configs/k400_pretrain.py --topology=v5e:16x16
    python -m mgm_jax.compile --config=configs/k400_pretrain.py --topology=h100:2x8

Compiles the step that `mgm_jax.main` would run on that TPU slice, or on 2 hosts of 8 GPUs, and
prints its memory, traffic and an estimate of its time. All config values can be set as in training;
batch_size is that of all chips. A step that does not fit is refused, with what helps. --traffic
shows where memory traffic comes from. Needs pip install -r requirements-tpu.txt or
requirements-gpu-check.txt. Compiling takes minutes.

The time is a roofline estimate: FLOPs of matrix products, bytes to and from a chip's memory and
bytes sent to other chips, each at the chip's published peak (`mgm_jax.aot.chips`). "At best" all
three overlap; "estimate" is their sum. Poorly filled matrix units and waiting for data are not
included.
"""

from collections.abc import Sequence

import jax
from absl import flags
from ml_collections import config_flags

from mgm_jax.aot.check import CompiledStep, check
from mgm_jax.aot.collectives import summarise
from mgm_jax.aot.traffic import PARTS
from mgm_jax.program import run_program


def report(found: CompiledStep) -> str:
    """The text that the command prints."""
    chip, step = found.chip, found.time
    axes = ", ".join(f"{axis}={size}" for axis, size in found.mesh.shape.items())
    lines = [
        f"{found.topology}: {found.mesh.size} chips on {found.num_hosts} hosts, mesh {axes}",
        f"model      {found.num_parameters / 1e6:.1f} M parameters; a checkpoint holds "
        f"{found.state_bytes / 1e9:.2f} GB",
        "",
        f"memory of a chip, GiB (limit {chip.memory / 2**30:.2f})",
        *(
            f"  {name:12s} {num_bytes / 2**30:8.3f}   {num_bytes / chip.memory:4.0%}"
            for name, num_bytes in found.memory.items()
        ),
        "",
        "a step",
        f"  FLOPs              {found.flops / 1e12:.2f} T on all chips, "
        f"{found.flops / found.clips / 1e12:.3f} T per clip; matrix units of a chip run "
        f"{found.chip_flops / 1e12:.3f} T",
        f"  memory traffic     {sum(found.traffic.values()) / 1e9:.2f} GB per chip",
    ]
    for (kind, along), (times, num_bytes, sent) in summarise(found.collectives).items():
        lines.append(
            f"  {kind:18s} along {' and '.join(along)}: {times} times, {num_bytes / 1e9:.3f} GB in "
            f"total; a chip sends {sent / 1e9:.3f} GB"
        )
    for loop in found.unknown_loops:
        lines.append(f"  trip count of {loop} not known: counted once")
    lines += [
        "",
        f"at published peaks: compute {1e3 * step.compute:.2f} ms, memory {1e3 * step.memory:.2f} "
        f"ms, network {1e3 * step.network:.2f} ms; limited by {step.limit}",
    ]
    for name, seconds in (("at best", step.best), ("estimate", step.estimate)):
        rate = found.clips / seconds
        lines.append(
            f"  {name:9s} {1e3 * seconds:8.2f} ms per step, {rate:8.0f} clips/s, per host "
            f"{rate / found.num_hosts:6.0f} clips/s"
        )
    return "\n".join(lines)


def traffic_table(traffic: dict[tuple[str, str], float]) -> str:
    """GB of memory traffic by part of the step (rows) and operation (columns), largest first."""
    sums: dict[str, float] = {}
    for names, num_bytes in traffic.items():
        for name in names:
            sums[name] = sums.get(name, 0.0) + num_bytes
    largest = sorted(sums, key=lambda name: -sums[name])
    parts = [name for name in largest if name in PARTS]
    operations = [name for name in largest if name not in PARTS and sums[name] >= 5e6]
    lines = [" " * 18 + "".join(f"{name:>12s}" for name in ("all", *operations))]
    for part in parts:
        cells = (sums[part], *(traffic.get((part, operation), 0.0) for operation in operations))
        lines.append(f"{part:18s}" + "".join(f"{cell / 1e9:12.2f}" for cell in cells))
    return "\n".join(["memory traffic of a chip in a step, GB", *lines])


def _define_flags() -> None:
    config_flags.DEFINE_config_file("config", None, "Recipe.")
    flags.DEFINE_string("topology", None, "As v5e:16x16, h100:8 or h100:2x8.", required=True)
    flags.DEFINE_bool("traffic", False, "Also print memory traffic by part and operation.")
    flags.mark_flag_as_required("config")


def main(_: Sequence[str]) -> None:
    """Compiles the step and prints what it needs."""
    jax.config.update("jax_platforms", "cpu")  # Looking for TPUs here takes minutes.
    values = flags.FLAGS
    found = check(values.config, values.topology)
    print(report(found))
    if values.traffic:
        print("\n" + traffic_table(found.traffic))


if __name__ == "__main__":
    _define_flags()
    run_program(main)
