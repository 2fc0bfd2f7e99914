"""Checks of a run's config: its values, and changes since a checkpoint or an earlier version."""

import fnmatch
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from mgm_jax.bounds import DEFAULTS, check_bounds
from mgm_jax.errors import ConfigError, differences

# A resumed run may change these: what is logged, saved or evaluated, and how fast it runs. Only two
# can change training itself: data.allow_damage (which clips are skipped), and mesh.* together with
# grad_accum_steps (drop path and dropout).
CHANGEABLE_ON_RESUME = (
    "log_every",
    "tracker",
    "checkpoint_every",
    "checkpoints_kept",
    "pictures_every",
    "num_pictures",
    "profile_steps",
    "stop_at_step",
    "allow_config_change",
    "data.allow_damage",
    "data.num_workers",
    "data.max_bad_fraction",
    "data.read_timeout",
    "mode",
    "eval.[!h]*",  # Not eval.holdout, which takes videos from training.
    "mesh.*",
    "model.attention",
    "model.remat",
)

_GUIDED = ("mgm", "mgm_sparse")

RENAMED = {
    "accumulate_steps": "grad_accum_steps",
    "data.max_skipped_share": "data.max_bad_fraction",
    "data.window": "data.host_crop_size",
    "masking.guide_first_step": "masking.guide_first_tubelet",
}
"""Names of earlier versions, and today's."""

ADDED = {
    "eval.holdout": 0.0,
    "model.init": "xavier",
    "model.positions": "sincos",
    "probe.layer_norm": False,
}
"""Names that earlier versions lacked, and the only value that they computed."""

RETIRED = {
    "data.modality": "rgb",
    "data.motion_frames": "sampled",
    "model.scan": False,
    "optimizer.name": "adamw",
}
"""Names of earlier versions that are gone, and the only value that this version still computes."""


def flatten(config: Mapping[str, Any] | ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields `(dotted name, value)` for every value of a nested config."""
    for name, value in config.items():
        if isinstance(value, Mapping | ConfigDict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def check_values(config: ConfigDict) -> None:
    """Refuses values that cannot work, before data is read or a program compiled.

    Raises:
        ConfigError: Names the value and what it may be.
    """
    values = dict(flatten(config))
    check_bounds(values)
    lacking = sorted(dict(flatten(DEFAULTS[config.task])).keys() - values.keys())
    lacking = [name for name in lacking if not name.startswith("eval.")]  # Runs of 0.1.0 have none.
    if lacking:
        raise ConfigError(
            f"config.task={config.task} needs config.{lacking[0]}, which this recipe lacks; take a "
            "recipe of that task"
        )
    if config.task == "linear_probe" and config.grad_accum_steps > 1:
        raise ConfigError(
            f"config.grad_accum_steps={config.grad_accum_steps} is not supported by linear probes, "
            "whose frozen encoder keeps no activations; set it to 1"
        )
    if "mix_group_size" in config.get("augment", ()):
        clips = config.batch_size * config.data.repeated_augmentation
        if clips % config.augment.mix_group_size:
            raise ConfigError(
                f"config.augment.mix_group_size={config.augment.mix_group_size} does not divide "
                f"the {clips} clips of a step (config.batch_size times "
                "config.data.repeated_augmentation)"
            )
    if config.model.positions != "sincos" and config.model.backbone != "vit":
        raise ConfigError(
            f"config.model.positions={config.model.positions} is for config.model.backbone=vit; "
            f"{config.model.backbone} learns its positions; set --config.model.positions=sincos"
        )
    rates = config.optimizer
    for name in ("min_lr", "warmup_lr"):
        if config.mode == "train" and rates[name] > rates.base_lr:
            raise ConfigError(
                f"config.optimizer.{name}={rates[name]:g} is above config.optimizer.base_lr="
                f"{rates.base_lr:g}, the learning rate's peak; set config.optimizer.{name} to at "
                "most that"
            )
    _check_motion(config)
    _check_sizes(config)
    _check_effects(config)


def _check_motion(config: ConfigDict) -> None:
    data = config.data
    for name in ("flow_path", "flow_weights"):
        if "://" in data[name]:
            raise ConfigError(
                f"config.data.{name}={data[name]} must be on the disk of every host; copy it there "
                "or mount the bucket (docs/launching.md)"
            )
    if data.motion == "flow" and not data.flow_path:
        raise ConfigError(
            "config.data.flow_path is empty: config.data.motion=flow reads the folder that "
            "python -m mgm_jax.flow.precompute makes"
        )
    if data.motion == "raft" and not data.flow_weights:
        raise ConfigError(
            "config.data.flow_weights is empty: config.data.motion=raft needs torchvision's "
            "raft_small weights as an .npz file; mgm_jax/flow/weights.py says how to make it"
        )
    # RAFT's smallest side is flow.raft.SMALLEST_SIDE.
    if data.motion == "raft" and (data.size < 64 or data.clip_frames < 2):
        raise ConfigError(
            f"config.data.motion=raft needs clips of 2 frames of 64 pixels or more, not "
            f"{data.clip_frames} of {data.size} (config.data.clip_frames, config.data.size)"
        )


def _check_sizes(config: ConfigDict) -> None:
    data, tubelet = config.data, tuple(config.model.tubelet)
    if data.host_crop_size % 2:
        raise ConfigError(
            f"config.data.host_crop_size={data.host_crop_size} must be even (4:2:0 chroma)"
        )
    if data.size % 8:
        raise ConfigError(
            f"config.data.size={data.size} must be a multiple of 8, the side of a motion cell"
        )
    if data.host_crop_size < data.size:
        raise ConfigError(
            f"config.data.host_crop_size={data.host_crop_size} is smaller than config.data.size="
            f"{data.size}: frames would be shrunk, then enlarged; raise config.data.host_crop_size"
        )
    clip = (data.clip_frames, data.size, data.size)
    if any(side % part for side, part in zip(clip, tubelet, strict=True)):
        raise ConfigError(
            f"config.model.tubelet={tubelet} does not divide clips of {clip[0]} frames of "
            f"{clip[1]}x{clip[2]} pixels (config.data.clip_frames, config.data.size)"
        )
    if tubelet[1] % 8 or tubelet[1] != tubelet[2]:
        raise ConfigError(
            f"config.model.tubelet={tubelet}: height and width must be equal and a multiple of 8, "
            "the side of a motion cell"
        )


def _check_effects(config: ConfigDict) -> None:
    """Refuses what would be ignored, or would have another effect than its name says."""
    values = dict(flatten(config))
    strategy, detects = values.get("masking.strategy"), config.task == "detect"
    crop, neutral = config.data.crop, DEFAULTS["pretrain"].data
    # By name: the value by default, whether another has an effect, and which name decides that.
    effects = {
        "optimizer.layer_decay": (1.0, config.task not in ("pretrain", "linear_probe"), "task"),
        # A detector sees the frames around the key frame.
        "data.sampling": ("dense", not detects, "task"),
        "eval.temporal_views": (1, not detects, "task"),
        "data.flow_path": ("", config.data.motion == "flow", "data.motion"),
        "data.flow_weights": ("", config.data.motion == "raft", "data.motion"),
        "data.scales": (neutral.scales, crop in ("multi_scale", "random_square"), "data.crop"),
        "data.area": (neutral.area, crop == "random_resized", "data.crop"),
        "norm_pix_eps": (1e-6, values.get("norm_pix_loss"), "norm_pix_loss"),
        "masking.jitter": (0.5, strategy in ("mgm", "smm", "smm_sparse"), "masking.strategy"),
        "masking.guidance": ("peak", strategy == "mgm", "masking.strategy"),
        "masking.guide_first_tubelet": (False, strategy == "mgm", "masking.strategy"),
        "masking.camera_compensation": ("none", strategy in _GUIDED, "masking.strategy"),
    }
    for name, (default, has_effect, because) in effects.items():
        value = values.get(name, default)
        value = tuple(value) if isinstance(value, list) else value  # Of a saved config.
        if not has_effect and value != default:
            raise ConfigError(
                f"config.{name}={value} has no effect with config.{because}={values[because]}; "
                f"leave it out, or change config.{because}"
            )
    if "masking" in config:
        check_guided(config)
    heads = len(config.probe.learning_rate_factors) if config.task == "linear_probe" else 1
    if heads > 1 and config.optimizer.clip_norm is not None:
        raise ConfigError(
            "config.optimizer.clip_norm would clip the gradient of all heads of "
            "config.probe.learning_rate_factors together; give one factor, or no clip_norm"
        )
    measured = config.get("eval", {})  # Pretraining runs of version 0.1.0 have none.
    if config.task == "pretrain" and measured.get("holdout") and measured.get("split") is not None:
        raise ConfigError(
            f"config.eval.holdout={measured.holdout} and config.eval.split={measured.split} both "
            "say what to measure the loss on; leave one out"
        )


def check_guided(config: ConfigDict) -> None:
    """Refuses masks that follow motion where none is read.

    Raises:
        ConfigError: Names both values.
    """
    strategy = config.masking.strategy
    if strategy in _GUIDED and config.data.motion == "none":
        raise ConfigError(
            f"config.masking.strategy={strategy} needs motion, and config.data.motion=none reads "
            "none; set it to auto"
        )


def mask_ratio(masking: ConfigDict) -> float:
    """Fraction of masked tokens: `config.masking.ratio`, by default the strategy's own.

    That is the paper's 0.75 (Figure 3a), and 0.9 for the random masks, as in VideoMAE
    (`random_tube`) and ST-MAE (`random`).
    """
    if masking.ratio is not None:
        return masking.ratio
    return 0.9 if masking.strategy in ("random_tube", "random") else 0.75


def to_json(config: ConfigDict) -> dict[str, Any]:
    """The config as JSON types (tuples become lists), the form it is saved in."""
    saved = json.loads(config.to_json_best_effort())
    if "masking" in saved:
        saved["masking"]["ratio"] = mask_ratio(config.masking)
    return saved


def upgrade(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Translates a config saved by an earlier version to today's names.

    Raises:
        ConfigError: The run used a value that this version no longer computes.
    """
    upgraded: dict[str, Any] = {}
    for name, value in flatten(saved):
        if name in RETIRED:
            if value != RETIRED[name]:
                raise ConfigError(
                    f"config.{name}={value!r} is no longer supported (only {RETIRED[name]!r}); "
                    "use the version of mgm_jax that made this run"
                )
            continue
        if name == "target":
            name, value = "norm_pix_loss", value == "normalised_pixels"
        if name == "model.remat" and isinstance(value, bool):
            value = "full" if value else "none"
        if name == "norm_pix_loss":
            upgraded.setdefault("norm_pix_eps", 1e-6)  # Earlier versions had no other.
        *groups, leaf = RENAMED.get(name, name).split(".")
        place = upgraded
        for group in groups:
            place = place.setdefault(group, {})
        place[leaf] = value
    for name, value in ADDED.items():
        group, leaf = name.split(".")
        if group in upgraded:
            upgraded[group].setdefault(leaf, value)
    return upgraded


def changes(config: ConfigDict, saved: Mapping[str, Any]) -> list[str]:
    """Lines "name: saved -> now" of the values that can change the results of a checkpoint."""
    now = dict(flatten(to_json(config)))
    then = {name: ADDED[name] for name in ADDED.keys() & now.keys()}
    then |= dict(flatten(upgrade(saved)))
    return differences(*map(_kept_on_resume, (then, now)))


def _kept_on_resume(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in values.items()
        if not any(fnmatch.fnmatch(name, pattern) for pattern in CHANGEABLE_ON_RESUME)
    }
