"""What drawing the masks costs beside the training step that they belong to.

    python -m benchmarks.mask_cost [--model_size=B]

prints Markdown; docs/mask_cost.md keeps it. The step is that of configs/ssv2_pretrain.py.
"""

import functools
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np
from absl import app, flags
from ml_collections import ConfigDict

from benchmarks.timing import interleaved_medians, markdown_table, timed, when_and_where
from configs import ssv2_pretrain
from mgm_jax.data.crops import MOTION_CELL
from mgm_jax.masking import motion_maps
from mgm_jax.masking import strategies as masking
from mgm_jax.models.vit import SIZES
from mgm_jax.training import tasks
from mgm_jax.training.state import Batch

LARGEST_SHARE = 0.01  # Of the step: the project's goal.

STEP, MAGNITUDE, SPLIT = "train step", "motion magnitude per step", "visible and masked positions"

HOW_TO_READ = """\
*How to read it.* Each strategy draws the masks of a whole batch in one compiled call, apart from
the step; inside the step the compiler may overlap it with other work. What every strategy needs
besides is timed too: the magnitude of the motion before, and the positions of visible and masked
tokens after. "Share" is the time over that of the training step for as many clips. {clock}"""

ON_CPU = """\
Times are CPU time of all threads. An accelerator speeds up the step far more than the masks, which
are many small operations, so the share is larger there: measure it there."""


def random_batch(config: ConfigDict, clips: int) -> Batch:
    """Clips of noise with noise for motion, in the form in which they reach the device.

    Args:
        config: The recipe.
        clips: How many.

    Returns:
        The batch, see `data.clips`.
    """
    rng = np.random.default_rng(0)
    frames, window, half = (
        config.data.clip_frames,
        config.data.host_crop_size,
        config.data.host_crop_size // 2,
    )
    cells = config.data.size // MOTION_CELL
    to_rgb = np.eye(3, 4, dtype=np.float32) / 255
    return jax.device_put(
        {
            "luma": rng.integers(0, 256, (clips, frames, window, window), np.uint8),
            "chroma": rng.integers(0, 256, (clips, frames, half, half, 2), np.uint8),
            "crop_box": np.tile(np.float32([0, 0, window, window]), (clips, 1)),
            "flip": np.zeros(clips, bool),
            "yuv_to_rgb": np.tile(to_rgb, (clips, 1, 1)),
            "motion": rng.normal(0, 2, (clips, frames, cells, cells, 2)).astype(np.float32),
            "motion_valid": np.ones((clips, frames), bool),
            "valid": np.ones(clips, bool),
            "label": np.zeros(clips, np.int32),
            "index": np.arange(clips, dtype=np.uint32),
        }
    )


def mask_functions(
    config: ConfigDict, grid: tuple[int, int, int], clips: int
) -> dict[str, Callable[[], None]]:
    """Functions that draw the masks of a batch once, and the work around it, by name."""
    batch = random_batch(config, 1)
    vectors = jax.numpy.tile(batch["motion"], (clips, 1, 1, 1, 1))
    valid = jax.numpy.tile(batch["motion_valid"], (clips, 1))
    to_magnitude = jax.jit(
        functools.partial(motion_maps.magnitude_per_step, tubelet_frames=config.model.tubelet[0])
    )
    magnitude = to_magnitude(vectors, valid)
    keys = jax.random.split(jax.random.key(0), clips)
    draw = {
        name: jax.jit(masking.make_mask_fn(name, grid, config.masking.ratio))
        for name in masking.STRATEGIES
    }
    split = jax.jit(masking.split_ids, static_argnums=1)
    mask = draw["mgm"](keys, magnitude)
    num_masked = masking.num_masked(grid, config.masking.ratio)

    def waits(function: Callable[..., object], *arguments: object) -> Callable[[], None]:
        return lambda: jax.block_until_ready(function(*arguments))

    return {name: waits(function, keys, magnitude) for name, function in draw.items()} | {
        MAGNITUDE: waits(to_magnitude, vectors, valid),
        SPLIT: waits(split, mask, num_masked),
    }


def step_function(config: ConfigDict, clips: int) -> tuple[tasks.Task, Callable[[], None]]:
    """The recipe's task, and a function that runs one training step of it."""
    task = tasks.make_task(config, (), total_steps=100)
    state = jax.jit(task.init_fn)()
    step_fn = jax.jit(task.step_fn, donate_argnums=0)
    batch = random_batch(config, clips)

    def step() -> None:
        nonlocal state
        state, metrics = step_fn(state, batch)
        jax.block_until_ready((state, metrics))

    return task, step


def repeated(function: Callable[[], None], times: int) -> Callable[[], None]:
    """A function that runs another several times, so that the clock can tell."""

    def run() -> None:
        for _ in range(times):
            function()

    return run


def measure(
    config: ConfigDict, *, clips: int, step_clips: int, rounds: int, repeats: int = 10
) -> dict[str, float]:
    """Times masks and step in turns.

    Args:
        config: The recipe.
        clips: Clips of a batch.
        step_clips: Clips with which the step is run; its time is scaled to a batch.
        rounds: Of measurements.
        repeats: Calls per measurement of what is short.

    Returns:
        Seconds per batch by name: the strategies, `MAGNITUDE`, `SPLIT` and `STEP`.
    """
    clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
    task, step = step_function(config, step_clips)
    functions = {
        name: timed(repeated(function, repeats), clock)
        for name, function in mask_functions(config, task.model.grid, clips).items()
    }
    seconds = interleaved_medians(functions | {STEP: timed(step, clock)}, rounds)
    step_seconds = seconds.pop(STEP) * clips / step_clips
    return {name: value / repeats for name, value in seconds.items()} | {STEP: step_seconds}


def make_report(
    seconds: dict[str, float], config: ConfigDict, clips: int, step_clips: int, rounds: int
) -> str:
    """The measurements as Markdown.

    Args:
        seconds: Of `measure`.
        config: The recipe.
        clips: Clips of a batch.
        step_clips: Clips with which the step was run.
        rounds: Of measurements.

    Returns:
        The table, the goal and whether it is met, and how to read it.
    """
    on_cpu = jax.default_backend() == "cpu"
    rows = [
        (name, f"{1e3 * value:.2f}", f"{100 * value / seconds[STEP]:.3f} %")
        for name, value in seconds.items()
    ]
    strategies = {name: seconds[name] for name in masking.STRATEGIES}
    slowest = max(strategies, key=strategies.get)
    share = strategies[slowest] / seconds[STEP]
    scaled = "" if clips == step_clips else f", run with {step_clips} clips and scaled"
    cells = config.data.size // MOTION_CELL
    setting = (
        f"ViT-{config.model.size}, {config.model.dtype}, mask ratio {config.masking.ratio}, "
        f"{clips} clips with {cells}x{cells} motion cells; step of configs/ssv2_pretrain.py{scaled}"
    )
    return "\n\n".join(
        [
            "# What masks cost",
            f"    python -m benchmarks.mask_cost --model_size={config.model.size} --clips={clips} "
            f"--step_clips={step_clips} --rounds={rounds}",
            f"{when_and_where(None if on_cpu else jax.devices()[0].device_kind)} {setting}.",
            HOW_TO_READ.format(clock=ON_CPU if on_cpu else "Times are wall-clock."),
            markdown_table(("", "ms per batch", "share of the step"), rows),
            f"The goal is less than {100 * LARGEST_SHARE:.0f} % of the step: "
            f"{'met' if share < LARGEST_SHARE else 'missed'}; the slowest strategy, {slowest}, "
            f"takes {100 * share:.3f} %.",
        ]
    )


def _define_flags() -> None:
    flags.DEFINE_enum("model_size", "B", sorted(SIZES), "Size of the model.")
    flags.DEFINE_integer("clips", 64, "Clips of a batch.", lower_bound=1)
    flags.DEFINE_integer(
        "step_clips", None, "Clips with which the step is run: all, and 2 on a CPU, by default."
    )
    flags.DEFINE_integer("rounds", 5, "How often everything is timed.", lower_bound=1)


def main(argv: Sequence[str]) -> None:
    """Measures what the flags say and prints the report."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    values = flags.FLAGS
    config = ssv2_pretrain.get_config()
    config.model.size = values.model_size
    on_cpu = jax.default_backend() == "cpu"
    if on_cpu:
        config.model.dtype = "float32"  # bfloat16 is emulated there, and slower
    step_clips = values.step_clips or (2 if on_cpu else values.clips)
    seconds = measure(config, clips=values.clips, step_clips=step_clips, rounds=values.rounds)
    print(make_report(seconds, config, values.clips, step_clips, values.rounds))


if __name__ == "__main__":
    _define_flags()
    app.run(main)
