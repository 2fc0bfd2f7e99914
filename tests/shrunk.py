"""Real recipes, shrunk until a step takes a moment on a CPU."""

import importlib
import pathlib

from ml_collections import ConfigDict

RECIPES = sorted(
    file.stem
    for file in (pathlib.Path(__file__).parent.parent / "configs").glob("*_*.py")
    if not file.stem.startswith("__")
)


def recipe(name: str, data_path: pathlib.Path, **changes: object) -> ConfigDict:
    """A recipe with small clips, a small model and few steps, on data of class folders.

    Args:
        name: A file of `configs/`.
        data_path: Folder of videos.
        **changes: Values to set, with `__` for the dot of a group.

    Returns:
        The config.
    """
    config = importlib.import_module(f"configs.{name}").get_config()
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
    config.log_every = 1
    if config.task == "pretrain":
        config.model.decoder.depth = 1
        config.pictures_every = 0
    else:
        if config.task == "finetune":
            config.augment.mix_group_size = 8
        config.eval.every = 2
        config.eval.batch_size = 8
        config.eval.temporal_views = 2
        config.eval.spatial_views = 1
    config.update_from_flattened_dict(
        {name.replace("__", "."): value for name, value in changes.items()}
    )
    return config
