"""Real recipes, shrunk until a step takes a moment on a CPU."""

import importlib
import json
import pathlib

import jax
import numpy as np
from ml_collections import ConfigDict

from mgm_jax.data.clips import LoadClip
from mgm_jax.data.loader import ClipBatches
from mgm_jax.data.sources import FolderSource

CONFIGS = pathlib.Path(__file__).resolve().parents[1] / "configs"
TIMINGS = ("train/clips_per_second", "data/wait")
RECIPES = sorted(file.stem for file in CONFIGS.glob("[!_]*.py"))


def get_config(name: str) -> ConfigDict:
    """A recipe as it is, e.g. `small_finetune` or `transfer_finetune:dataset=hmdb51`."""
    name, _, arg = name.partition(":")
    return importlib.import_module(f"configs.{name}").get_config(arg)


def recipe(name: str, data_path: pathlib.Path | str, **changes: object) -> ConfigDict:
    """A recipe with small clips, a small model and few steps, on a folder of class folders.

    Args:
        name: As in `get_config`.
        data_path: Folder of videos.
        **changes: Values to set, with `__` for the dot of a group.
    """
    config = get_config(name)
    config.batch_size = 8
    config.num_steps = 2
    config.warmup_steps = 1
    config.data.source = "folder"
    config.data.path = str(data_path)
    config.data.clip_frames = 8
    config.data.size = 32
    config.data.host_crop_size = 64
    config.data.num_workers = 0
    config.model.size = "Ti"
    config.model.encoder.depth = 2
    config.model.tubelet = (2, 8, 8)
    config.model.positions = "sincos"
    config.log_every = 1
    config.eval.holdout = 0.0
    if config.task == "pretrain":
        config.model.decoder.depth = 1
        config.pictures_every = 0
    else:
        if config.task == "finetune":
            config.augment.mix_group_size = 8
        config.eval.allow_overlap = True
        config.eval.every = 2
        config.eval.batch_size = 8
        config.eval.temporal_views = 1 if config.task == "detect" else 2
        config.eval.spatial_views = 1
    config.update_from_flattened_dict(
        {name.replace("__", "."): value for name, value in changes.items()}
    )
    return config


def first_batch(config: ConfigDict) -> dict[str, np.ndarray]:
    """The first batch of a shrunk recipe, read from its videos."""
    loader = LoadClip.from_config(config.data, FolderSource(config.data.path))
    batches = ClipBatches(loader, global_batch=config.batch_size, num_batches=1, seed=0)
    batch = next(batches)
    batches.close()
    return batch


def logged(workdir: pathlib.Path) -> list[dict[str, float]]:
    """The lines of a run's metrics.jsonl, without what differs from run to run."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMINGS} for line in lines]


def assert_same_state(left: object, right: object) -> None:
    """Bit for bit."""
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(left), jax.device_get(right))
