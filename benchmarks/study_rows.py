"""The settings that `benchmarks.masking_study` compares, and the commands that train them."""

import dataclasses
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from configs import demo_finetune, demo_pretrain

SIZE = "--config.data.size=32"  # 2x4x4 tokens, for speed.
FEW_LABELS = "train[:600]"
_TARGET = "target=normalised"
MEASURES = {
    "finetune": "finetuned",
    "finetune_longer": "finetuned for twice the steps",
    "linear_probe": "linear probe",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One setting of the study.

    Attributes:
        name: In the table: mask and ratio, or what differs from "mgm 0.5".
        part: The table or figure of the paper that it belongs to.
        argument: Of configs/demo_pretrain.py; None for no pretraining.
        steps: Length of pretraining over that of the recipe; it has one step at least.
        flags: Of pretraining, or of finetuning without one; {data} is the folder of the demo set.
        measures: What is measured of it, a part of `MEASURES`.
    """

    name: str
    part: str
    argument: str | None
    steps: float = 1.0
    flags: tuple[str, ...] = ()
    measures: tuple[str, ...] = ("finetune", "linear_probe")


def config_flags(values: Mapping[str, Any]) -> list[str]:
    """The flags that set config values, by their dotted names."""
    return [f"--config.{name}={value}" for name, value in values.items()]


def _finetuning(times: int) -> tuple[str, ...]:
    config = demo_finetune.get_config()
    length = config_flags({name: times * config[name] for name in ("num_steps", "warmup_steps")})
    few_labels = f"--config.data.split={FEW_LABELS}"
    return ("--config=configs/demo_finetune.py", few_labels, *length)


_RECIPES = {
    "finetune": _finetuning(1),
    "finetune_longer": _finetuning(2),
    "linear_probe": ("--config=configs/small_linear_probe.py:dataset=demo",),
}
_UNTRAINED = ("--config.optimizer.base_lr=0", "--config.optimizer.min_lr=0")
_FASTER = ("--config.optimizer.base_lr=8e-3", "--config.optimizer.min_lr=8e-5")
_ALL_LABELS = "--config.data.split=train"
FLOW = "--config.data.flow_path={data}_flow"
_FIRST_TUBELET = "--config.masking.guide_first_tubelet"
_MEDIAN = "--config.masking.camera_compensation=median"
_MASKS = ("mgm", "mgm_sparse", "smm", "smm_sparse", "random_block", "random_tube", "random")
_RATIO = 0.5  # At the paper's 0.75 MGM leaves one row or column of the 4x4 tokens of a frame.
_MGM = f"ratio={_RATIO}"
ROWS = (
    Row("from scratch", "", None, measures=("finetune", "finetune_longer")),
    Row("from scratch, rate 1e-3", "", None, flags=_FASTER, measures=("finetune",)),
    Row(
        "from scratch, all labels",
        "",
        None,
        flags=(_ALL_LABELS,),
        measures=("finetune", "finetune_longer"),
    ),
    Row("random features", "", "mask=mgm", steps=0, flags=_UNTRAINED, measures=("linear_probe",)),
    *(Row(f"{mask} {_RATIO}", "Table 4e", f"mask={mask},ratio={_RATIO}") for mask in _MASKS),
    *(Row(f"mgm {ratio}", "Figure 3a", f"ratio={ratio}") for ratio in (0.6, 0.75, 0.9)),
    *(
        Row(f"random_tube {ratio}", "Figure 3a", f"mask=random_tube,ratio={ratio}")
        for ratio in (0.6, 0.9)
    ),
    Row("random_tube 0.75", "Figure 3a", "mask=random_tube,ratio=0.75", measures=tuple(MEASURES)),
    *(Row(f"mgm, {n:g} times as long", "Figure 3b", _MGM, n) for n in (0.25, 0.5, 2.0)),
    *(
        Row(f"{mask} 0.75, 2 times as long", "Figure 3b", f"mask={mask},ratio=0.75", 2.0)
        for mask in ("mgm", "random_tube")
    ),
    *(Row(f"mgm, jitter {jitter}", "Table 4c", f"{_MGM},jitter={jitter}") for jitter in (0.0, 1.0)),
    Row("mgm, optical flow", "Table 4b", f"{_MGM},motion=flow", flags=(FLOW,)),
    Row("mgm, window", "ours", f"{_MGM},guidance=window"),
    Row("mgm, first tubelet guided", "ours", _MGM, flags=(_FIRST_TUBELET,)),
    Row("mgm, median", "ours", _MGM, flags=(_MEDIAN,)),
)

BUDGETS = {"gpu10": ("from scratch", "mgm 0.5", "random_tube 0.5")}
"""Rows by the time that they take: gpu10, with three seeds at once on a GPU and 16 CPU cores."""


def commands(
    row: Row, seed: int, folder: pathlib.Path, data: str, extra: Sequence[str]
) -> dict[str, list[str]]:
    """The commands of a run, in a folder, by the name of the stage, in the order to run them in.

    `data` is the folder of the demo set, and `extra` are further flags of all stages.
    """
    recipes: dict[str, list[str]] = {}
    if row.argument is not None:
        steps = max(int(row.steps * demo_pretrain.get_config(_TARGET).num_steps), 1)
        recipes["pretrain"] = [
            f"--config=configs/demo_pretrain.py:{_TARGET},{row.argument}",
            "--config.eval.split=validation",
            *(f"--config.num_steps={steps}", f"--config.warmup_steps={steps // 20}"),
        ]
    for name in row.measures:
        recipes[name] = [*_RECIPES[name]]
        if row.argument is not None:
            recipes[name].append(f"--config.init_from={folder / 'pretrain'}")
    for name in row.measures if row.argument is None else ("pretrain",):
        recipes[name] += [flag.format(data=data) for flag in row.flags]
    common = [SIZE, f"--config.data.path={data}", f"--config.seed={seed}", *extra]
    return {
        name: [
            *(sys.executable, "-m", "mgm_jax.main", *flags_of, *common),
            f"--workdir={folder / name}",
        ]
        for name, flags_of in recipes.items()
    }


def folder_of(out: pathlib.Path, row: Row, seed: int) -> pathlib.Path:
    """The folder of a run."""
    name = "".join(c if c.isalnum() else "_" for c in row.name)
    return out / f"{name}_seed{seed}"
