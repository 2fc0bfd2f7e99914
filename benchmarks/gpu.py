"""What only a GPU can show, in stages that take 25 minutes together: run benchmarks/gpu.sh.

`tests` runs the tests marked `gpu`. `steps_S` and `steps_B` run our pretraining step beside Hugging
Face's in PyTorch, eager and compiled, each with the largest batch that fits. `attention` runs ours
with cuDNN's flash attention and without. `shares` times the conversion of frames and the masks
alone. `training` trains on prepared clips and tells how long it waited for data. `study` is the
short form of `benchmarks.masking_study`, on a demo set that it makes.

Every stage is written to OUT/gpu.json when it is done, and the same command goes on with those that
are missing; the tables' rows are printed at the end. `--rehearse` runs them with tiny shapes, on
any machine.
"""

import dataclasses
import functools
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags, logging

from benchmarks import train_step
from benchmarks.study_rows import BUDGETS, config_flags
from benchmarks.timing import median_seconds, print_table
from benchmarks.train_step import COMPILED, EAGER, MATMUL, OURS, Setting
from mgm_jax.errors import ConfigError
from mgm_jax.program import run_program

BATCHES = (256, 128, 64, 32)
_TRAINING_STEPS = 200
_STUDY_SEEDS = 3


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        out: Folder of the results.
        videos: Prepared clips to train on.
        rehearse: Tiny shapes, few steps.
    """

    out: pathlib.Path
    videos: str
    rehearse: bool

    def setting(self, size: str, ratio: float) -> Setting:
        """A setting of `train_step`; `largest_batch` chooses its clips."""
        if self.rehearse:
            return Setting("Ti", ratio, 1, "float32", pixels=32)
        return Setting(size, ratio, BATCHES[0], "bfloat16")

    @property
    def batches(self) -> Sequence[int]:
        """Numbers of clips to try."""
        return (1,) if self.rehearse else BATCHES


def largest_batch(
    name: str, setting: Setting, batches: Sequence[int]
) -> tuple[Setting, float, int] | str:
    """The setting with the largest batch that a step can take, its seconds and its peak bytes.

    Returns the last error's text if none fits.
    """
    error = ""
    for clips in batches:
        setting = dataclasses.replace(setting, clips=clips)
        try:
            seconds, peak = train_step.measure([name], setting, rounds=5)[name]
        except RuntimeError as failure:
            error = str(failure)[:500]
            logging.warning("%d clips: %s", clips, error)
            if not re.search("RESOURCE_EXHAUSTED|out of memory", str(failure)):
                break
        else:
            return setting, seconds, peak
    return error


def _step_row(name: str, setting: Setting, batches: Sequence[int], peak: float) -> dict[str, Any]:
    row = {"step": name, "size": setting.size, "mask_ratio": setting.mask_ratio}
    row["attention"] = setting.attention
    found = largest_batch(name, setting, batches)
    if isinstance(found, str):
        return row | {"error": found}
    setting, seconds, num_bytes = found
    return row | {
        "clips": setting.clips,
        "clips_per_second": setting.clips / seconds,
        "gib": num_bytes / 2**30,
        "utilisation": train_step.step_flops(setting) / seconds / peak,
    }


@functools.cache  # Two stages need it.
def _matmul_rate(plan: Plan) -> float:
    setting = plan.setting("B", 0.75)
    seconds, _ = train_step.measure([MATMUL], setting, rounds=5)[MATMUL]
    return 2 * train_step.matmul_side() ** 3 / seconds


def run_tests(plan: Plan) -> dict[str, Any]:
    """Runs the tests marked `gpu`, which skip themselves without one."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "tests/test_gpu.py"]
    platforms = os.environ | {"JAX_PLATFORMS": "cpu" if plan.rehearse else "cuda,cpu"}
    done = subprocess.run(command, capture_output=True, text=True, env=platforms)
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:])
    return {"summary": done.stdout.strip().splitlines()[-1:]}


def run_steps(plan: Plan, size: str) -> list[dict[str, Any]]:
    """Our step and PyTorch's, of a ViT at ratios 0.75 and 0.9."""
    peak = _matmul_rate(plan)
    return [
        _step_row(name, plan.setting(size, ratio), plan.batches, peak)
        for ratio in ((0.75,) if plan.rehearse else (0.75, 0.9))
        for name in (OURS, EAGER, COMPILED)
        if not (plan.rehearse and name == COMPILED)  # Which takes a minute.
    ]


def run_attention(plan: Plan) -> list[dict[str, Any]]:
    """Our step of ViT-B with each attention, by the batch that fits all of them."""
    peak = _matmul_rate(plan)
    kinds = ("xla",) if plan.rehearse else ("xla", "cudnn")
    settings = [dataclasses.replace(plan.setting("B", 0.75), attention=kind) for kind in kinds]
    return [_step_row(OURS, setting, plan.batches[-2:], peak) for setting in settings]


def run_shares(plan: Plan) -> dict[str, float]:
    """Seconds of a step of ViT-B, and of what comes before its model: RGB clips, and masks."""
    import jax

    from mgm_jax.preprocessing import rgb
    from mgm_jax.training import pretrain_step, tasks

    setting = dataclasses.replace(plan.setting("B", 0.75), clips=plan.batches[-1])
    config = setting.recipe()
    grid = tasks.make_task(config, (), total_steps=1).model.grid
    batch, key = jax.device_put(train_step.device_batch(config, setting.clips)), jax.random.key(0)
    parts: dict[str, Callable[..., Any]] = {
        "rgb": jax.jit(lambda batch, key: rgb.batch_to_rgb(batch, size=config.data.size)),
        "masks": jax.jit(pretrain_step.make_guided_mask_fn(config, grid)),
    }
    seconds = {name: median_seconds(lambda fn=fn: fn(batch, key)) for name, fn in parts.items()}
    step = train_step.measure([OURS], setting, rounds=5)[OURS][0]
    return {"clips": setting.clips, "step": step, **seconds}


def run_training(plan: Plan) -> dict[str, float]:
    """Pretrains on prepared clips: clips/s, and the share of time spent waiting for them."""
    workdir, steps = plan.out / "training", 2 if plan.rehearse else _TRAINING_STEPS
    values = {
        "data.path": plan.videos,
        "num_steps": steps,
        "warmup_steps": 1,
        "log_every": max(steps // 10, 1),
        "checkpoint_every": steps,
        "pictures_every": 0,
        "batch_size": plan.batches[-1] if plan.rehearse else 128,
        "data.num_workers": os.cpu_count() or 1,
    }
    if plan.rehearse:
        values |= {"model.size": "Ti", "model.encoder.depth": 1, "model.decoder.depth": 1}
        values |= {"data.num_workers": 0, "data.size": 32, "data.host_crop_size": 64}
    command = ["mgm_jax.main", "--config=configs/ssv2_pretrain.py", f"--workdir={workdir}"]
    _run_modules([[*command, *config_flags(values)]])
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    # The first half compiles and fills the buffers.
    late = [line for line in lines if "data/wait" in line and line["step"] > steps // 2]
    rates = [line["train/clips_per_second"] for line in late]
    waiting = statistics.fmean([line["data/wait"] for line in late], [1 / rate for rate in rates])
    return {"clips_per_second": statistics.harmonic_mean(rates), "waiting": waiting}


def run_study(plan: Plan) -> list[dict[str, Any]]:
    """The short form of the study, on the demo set; several runs share the GPU."""
    data, out = plan.out / "demo_data", plan.out / "study"
    counts = (36, 12) if plan.rehearse else (10080, 1008)
    demo = ["data_prep.demo", f"--out={data}"]
    demo += [f"--num_train={counts[0]}", f"--num_validation={counts[1]}"]
    study = ["benchmarks.masking_study", f"--out={out}"]
    train = [*study, f"--data={data}", "--budget=gpu10", f"--seeds={_STUDY_SEEDS}"]
    jobs = 1 if plan.rehearse else _STUDY_SEEDS * len(BUDGETS["gpu10"])
    if plan.rehearse:
        values = {"num_steps": 1, "warmup_steps": 0, "batch_size": 32, "data.num_workers": 0}
        values |= {"model.encoder.depth": 1, "data.split": "train"}
        train += ["--seeds=1", "--only=from scratch, rate 1e-3", "--", *config_flags(values)]
    else:
        train += ["--", "--config.data.num_workers=2"]
    _run_modules([demo])
    _run_modules([train] * jobs)  # Each takes runs that no other has begun.
    _run_modules([[*study, "--report"]])
    return json.loads((out / "results.json").read_text())


def _run_modules(commands: Sequence[Sequence[str]]) -> None:
    """Runs modules at once; when all have ended, raises CalledProcessError if one failed."""
    full = [[sys.executable, "-m", *command] for command in commands]
    running = [subprocess.Popen(command) for command in full]
    # The next stage is timed, so nothing may be left behind.
    for status, command in zip([process.wait() for process in running], full, strict=True):
        if status:
            raise subprocess.CalledProcessError(status, command)


STAGES: Mapping[str, Callable[[Plan], Any]] = {
    "tests": run_tests,
    "steps_S": functools.partial(run_steps, size="S"),
    "steps_B": functools.partial(run_steps, size="B"),
    "attention": run_attention,
    "shares": run_shares,
    "training": run_training,
    "study": run_study,
}


def run(plan: Plan, stages: Sequence[str]) -> dict[str, Any]:
    """Runs the stages that OUT/gpu.json lacks, and returns all results, by stage.

    Raises:
        ConfigError: The file is of another device or version of jax.
    """
    import jax

    plan.out.mkdir(parents=True, exist_ok=True)
    file = plan.out / "gpu.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    device = f"{jax.devices()[0].device_kind}, jax {jax.__version__}"
    if results.setdefault("device", device) != device:
        raise ConfigError(
            f"{file} holds results of {results['device']}, and this is {device}; give another --out"
        )
    for stage in stages:
        if stage in results and not _failed(results[stage]):
            continue
        start = time.monotonic()
        try:
            found = STAGES[stage](plan)
        except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
            logging.error("%s: %s", stage, error)  # The other stages are worth having.
            continue
        results |= {stage: found, f"{stage} took": f"{time.monotonic() - start:.0f} s"}
        file.write_text(json.dumps(results, indent=1) + "\n")
    return results


def _failed(found: Any) -> bool:
    return isinstance(found, list) and any("error" in row for row in found)


def step_rows(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Rows of docs/performance.md from those of a stage."""
    table = []
    for row in rows:
        label = f"ViT-{row['size']}, ratio {row['mask_ratio']}: {row['step']}, {row['attention']}"
        label = re.sub(", auto$", "", label)
        if "error" in row:
            table.append((label, "does not run", "", "", ""))
            continue
        cells = (f"{row['clips_per_second']:.4g}", f"{100 * row['utilisation']:.0f} %")
        table.append((label, str(row["clips"]), *cells, f"{row['gib']:.1f}"))
    return table


def main(_: Sequence[str]) -> None:
    """Runs the stages, and prints the rows."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # Processes share the GPU.
    os.environ.setdefault("XLA_CLIENT_MEM_FRACTION", "0.95")  # PyTorch may use all of it.
    values = flags.FLAGS
    plan = Plan(pathlib.Path(values.out), values.videos, values.rehearse)
    results = run(plan, values.stages)
    stages = ("steps_S", "steps_B", "attention")
    rows = step_rows([row for stage in stages for row in results.get(stage, ())])
    header = ("", "clips a batch", "clips/s", "utilisation", "memory, GiB")
    print_table(header, rows, results["device"])
    for stage in ("tests", "shares", "training", "study"):
        print(f"\n{stage}: {json.dumps(results.get(stage, 'failed'))}")
    if failed := [s for s in values.stages if s not in results or _failed(results[s])]:
        sys.exit(f"error: {', '.join(failed)} failed; the log says why")


if __name__ == "__main__":
    flags.DEFINE_string("out", None, "Folder of the results.", required=True)
    flags.DEFINE_string("videos", None, "Prepared clips to train on.", required=True)
    flags.DEFINE_list("stages", list(STAGES), "Stages to run.")
    flags.DEFINE_bool("rehearse", False, "Tiny shapes, on any machine.")
    run_program(main)
