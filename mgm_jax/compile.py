"""Checks a run on a TPU slice before a chip is rented, on a machine without a TPU.

    python -m mgm_jax.compile --config=configs/k400_pretrain.py --topology=v5e:16x16

compiles the very step that `mgm_jax.main` would run there, and prints what it needs and how long it
takes at best. Every value of the config can be set as in training; batch_size is that of the whole
slice. A step that does not fit is refused, with what helps. It needs libtpu:
pip install -r requirements-tpu.txt. Compiling takes minutes; --config.model.scan=True makes it
faster for large models, and needs more memory on the chip.

The estimate is a roofline: FLOPs of matrix products, bytes to and from a chip's memory and bytes it
sends to others, each over the chip's published peak (`mgm_jax.aot.chips`). "At best" all three
overlap perfectly; "estimate" adds them up. Neither knows of matrices that fill the units badly, or
of waiting for data.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Sequence

import jax
from absl import app, flags
from ml_collections import ConfigDict, config_flags

from mgm_jax.aot.check import Memory, PodCheck, check
from mgm_jax.aot.collectives import summarise
from mgm_jax.config import parse_flags
from mgm_jax.errors import ConfigError, MgmError
from mgm_jax.training import distributed
from mgm_jax.training.step_counts import StepCounts, count_steps

_DAY = 86400


@dataclasses.dataclass(frozen=True)
class TrainingSet:
    """Size of the training set of a recipe, as its docstring gives it."""

    videos: int
    classes: int


# By the first word of the recipe's file name.
TRAINING_SETS = {
    "ssv2": TrainingSet(168_913, 174),
    "k400": TrainingSet(240_000, 400),
    "minik200": TrainingSet(80_000, 200),
    "hmdb51": TrainingSet(3_570, 51),
    "diving48": TrainingSet(15_027, 48),
}


def training_set(
    recipe: str, config: ConfigDict, num_videos: int | None, num_classes: int | None
) -> TrainingSet:
    """How many videos and classes a run has.

    Args:
        recipe: Path of the recipe.
        config: Its config.
        num_videos: What the flag says.
        num_classes: What the flag says.

    Returns:
        The numbers.

    Raises:
        ConfigError: Neither the recipe nor a flag says what is needed.
    """
    known = TRAINING_SETS.get(pathlib.Path(recipe.partition(":")[0]).stem.partition("_")[0])
    videos = num_videos or (known.videos if known else None)
    classes = num_classes or (known.classes if known else None)
    missing = []
    if not videos:
        missing.append("--num_videos=N, the videos of an epoch")
    if not classes and config.task != "pretrain":
        missing.append("--num_classes=N")
    if missing:
        raise ConfigError(
            f"the size of the training set of {recipe} is not known "
            f"({', '.join(TRAINING_SETS)} are); give {' and '.join(missing)}"
        )
    return TrainingSet(videos, classes or 0)


def report(found: PodCheck, plan: StepCounts) -> str:
    """What was found, in words and numbers.

    Args:
        found: The compiled step.
        plan: Length of the run.

    Returns:
        Lines of text.
    """
    chip, memory, step = found.chip, found.memory, found.time
    axes = ", ".join(f"{axis}={size}" for axis, size in found.mesh.shape.items())
    lines = [
        f"{found.topology}: {found.mesh.size} chips on {found.num_hosts} hosts, mesh {axes}",
        f"model      {found.num_parameters / 1e6:.1f} M parameters; a checkpoint holds "
        f"{found.state_bytes / 1e9:.2f} GB",
        f"compiled   in {found.compile_seconds:.0f} s",
        "",
        f"memory of a chip, GiB ({chip.memory / 2**30:.2f} to be had)",
    ]
    for field in dataclasses.fields(Memory):
        lines.append(f"  {field.name:12s} {getattr(memory, field.name) / 2**30:8.3f}")
    lines += [
        f"  {'peak':12s} {memory.peak / 2**30:8.3f}   {memory.peak / chip.memory:.0%}",
        "",
        "a step",
        f"  FLOPs              {found.flops / 1e12:.2f} T on all chips, "
        f"{found.flops / found.clips / 1e12:.3f} T a clip; a chip's matrix units do "
        f"{found.chip_flops / 1e12:.3f} T",
        f"  memory traffic     {found.memory_bytes / 1e9:.2f} GB of a chip",
    ]
    for kind, along, times, num_bytes, sent in summarise(found.collectives):
        lines.append(
            f"  {kind:18s} along {' and '.join(along)}: {times} x, {num_bytes / 1e9:.3f} GB "
            f"in all; a chip sends {sent / 1e9:.3f} GB"
        )
    for loop in found.unknown_loops:
        lines.append(f"  not known how often {loop} runs: counted once")
    lines += [
        "",
        f"at published peaks: compute {1e3 * step.compute:.2f} ms, memory {1e3 * step.memory:.2f} "
        f"ms, network {1e3 * step.network:.2f} ms; {step.limit} limits",
    ]
    for name, seconds in (("at best", step.best), ("estimate", step.estimate)):
        rate = found.clips / seconds
        lines.append(
            f"  {name:9s} {1e3 * seconds:8.2f} ms a step, {rate:8.0f} clips/s, "
            f"{rate / found.num_hosts:6.0f} clips/s and "
            f"{found.batch_bytes / seconds / found.num_hosts / 1e9:.2f} GB/s of input for each "
            f"host, {plan.total_steps * seconds / _DAY:.2f} days for {plan.total_steps} steps"
        )
    return "\n".join(lines)


def run() -> None:
    """Runs the program."""
    config_file = config_flags.DEFINE_config_file("config", None, "Recipe.")
    topology = flags.DEFINE_string("topology", None, "Chips, as v5e:16x16 or v4:4x4x8.")
    num_videos = flags.DEFINE_integer("num_videos", None, "Videos of an epoch.", lower_bound=1)
    num_classes = flags.DEFINE_integer("num_classes", None, "Classes.", lower_bound=2)

    def compile_and_report(_: Sequence[str]) -> None:
        # The TPUs are elsewhere, and looking for one here takes minutes.
        jax.config.update("jax_platforms", "cpu")
        try:
            config = config_file.value
            recipe = config_flags.get_config_filename(flags.FLAGS["config"])
            size = training_set(recipe, config, num_videos.value, num_classes.value)
            plan = count_steps(config, size.videos)
            print(report(check(config, topology.value, size.classes), plan))
        except MgmError as error:
            sys.exit(f"error: {error}")

    flags.mark_flags_as_required(["config", "topology"])
    distributed.log_to_stderr()
    app.run(compile_and_report, flags_parser=parse_flags)


if __name__ == "__main__":
    run()
