"""What the values of a config may be: choices, and the ranges of numbers.

The kind of a value, and whether it may be None, is that of its default in `base_config`.
"""

import contextlib
import numbers
from collections.abc import Mapping
from typing import Any

from ml_collections.config_flags import config_path

from mgm_jax import base_config, detect_config
from mgm_jax.errors import ConfigError

CHOICES = {
    "task": ("pretrain", "finetune", "linear_probe", "detect"),
    "mode": ("train", "eval"),
    "tracker": ("none", "wandb"),
    "data.source": ("records", "folder", "csv"),
    "eval.source": ("records", "folder", "csv", None),
    "data.sampling": ("dense", "segments"),
    "data.crop": ("multi_scale", "random_resized", "random_square", "centre"),
    "data.motion": ("auto", "codec", "estimate", "flow", "raft", "none"),
    "model.dtype": ("float32", "bfloat16"),
    "model.attention": ("auto", "xla", "chunked", "cudnn", "splash"),
    "model.backbone": ("vit", "timesformer_divided", "timesformer_joint"),
    "model.positions": ("sincos", "sincos_axes"),
    "model.init": ("xavier", "trunc_normal"),
    "model.remat": ("none", "full", "dots"),
    "masking.guidance": ("peak", "window"),
    "masking.camera_compensation": ("none", "median"),
    "eval.checkpoint": ("last", "best"),
}

_LARGE = 2**31 - 1  # Steps are counted with 32 bits.
_TINY = 1e-9  # The smallest number above 0, and the distance of the largest below 1.

# Smallest, largest, and the values that they hold for; of lists, for each number.
_RANGES: tuple[tuple[float, float, str], ...] = (
    (0, 2**32 - 1, "seed"),
    (1, _LARGE, "batch_size grad_accum_steps num_steps stop_at_step log_every checkpoint_every"),
    (1, _LARGE, "checkpoints_kept num_pictures eval.batch_size augment.mix_group_size"),
    (0, _LARGE, "warmup_steps pictures_every profile_steps eval.every eval.subset"),
    (_TINY, 1e9, "epochs data.read_timeout"),
    (0, 1e9, "warmup_epochs"),
    (1, 2**10, "data.repeated_augmentation eval.temporal_views eval.spatial_views"),
    (1, 2**10, "model.encoder.depth model.encoder.heads model.decoder.depth model.decoder.heads"),
    (1, 2**12, "data.clip_frames model.tubelet"),
    (1, 2**13, "data.size"),
    (1, 2**14, "data.host_crop_size"),
    (1, 2**16, "data.stride model.encoder.dim model.decoder.dim"),
    (0, 2**12, "data.num_workers"),
    (0, 2**4, "augment.rand_augment_layers"),
    (-1, 2**20, "mesh.data mesh.fsdp mesh.tensor"),
    (1e-3, 1, "data.scales"),
    (1e-6, 1, "data.area"),
    (0, 1, "data.max_bad_fraction augment.rand_augment_probability"),
    (1e-30, 1, "optimizer.eps norm_pix_eps"),  # With 0 what is zero everywhere gives 0 / 0.
    (0, 1, "data.detection_score data.box_jitter eval.detection_score eval.box_margin"),
    (0.5, 1, "data.same_overlap"),
    (1, 2**10, "data.max_boxes"),
    (0, 180, "augment.colour_jitter"),
    (0, 1, "augment.erasing augment.mix_probability augment.cutmix_share"),
    (0, 0.999, "model.drop_path model.head_dropout"),
    (0, 1 - _TINY, "optimizer.b1 optimizer.b2 eval.holdout augment.label_smoothing"),
    (_TINY, 1 - _TINY, "masking.ratio probe.held_out"),
    (0, 10, "augment.rand_augment_magnitude augment.rand_augment_std"),
    (0, 1e3, "masking.jitter masking.velocity augment.mixup augment.cutmix"),
    (0, 1e6, "optimizer.base_lr optimizer.min_lr optimizer.warmup_lr optimizer.weight_decay"),
    (0, 1e6, "model.head_init_scale probe.learning_rate_factors"),
    (_TINY, 1e3, "optimizer.layer_decay"),
    (_TINY, 1e30, "optimizer.clip_norm"),
)
RANGES = {name: (low, high) for low, high, names in _RANGES for name in names.split()}

DEFAULTS = {
    "pretrain": base_config.pretrain(),
    "finetune": base_config.finetune(),
    "linear_probe": base_config.linear_probe(),
    "detect": detect_config.detect(),
}
"""The values that a task has, with their defaults."""

_ANY_LENGTH = ("data.scales", "probe.learning_rate_factors")
_ASCENDING = ("data.area", "profile_steps")


def check_bounds(values: Mapping[str, Any]) -> None:
    """Refuses a value of another kind or out of its range; values are by dotted name.

    Raises:
        ConfigError: Names the value and what it may be.
    """
    for name, choices in CHOICES.items():
        if name in values and values[name] not in choices:
            known = ", ".join(map(str, choices))
            raise ConfigError(f"config.{name}={values[name]!r} is not one of {known}")
    for name, value in values.items():
        expected = None if name in CHOICES else _expected(name, value)
        if expected is not None:
            raise ConfigError(f"config.{name}={value!r} must be {expected}")


def _expected(name: str, value: Any) -> str | None:
    """What a value may be, in words; None if it is."""
    kind: Any = None
    defaults = []
    for config in DEFAULTS.values():
        with contextlib.suppress(KeyError, AttributeError):
            kind = config_path.get_type(name, config)
            defaults.append(config_path.get_value(name, config))
    if kind is None or (value is None and None in defaults):
        return None  # A value of the user's own recipe, or one that may be None.
    if kind in (str, bool):
        return None if isinstance(value, kind) else {str: "text", bool: "True or False"}[kind]
    low, high = RANGES[name]
    lowest = "above 0" if low == _TINY else f"{low:g}"
    highest = "below 1" if high == 1 - _TINY else f"{high:.10g}"
    bounds = f"from {lowest} to {highest}"
    if kind is not tuple:
        whole = "whole " * (kind is int)
        return None if _is_number(value, low, high, kind) else f"a {whole}number {bounds}"
    values, kind = (value if isinstance(value, tuple | list) else ()), type(defaults[0][0])
    fits = len(values) > 0 if name in _ANY_LENGTH else len(values) == len(defaults[0])
    fits = fits and all(_is_number(one, low, high, kind) for one in values)
    if fits and not (name in _ASCENDING and sorted(values) != list(values)):
        return None
    count = "one or more" if name in _ANY_LENGTH else len(defaults[0])
    ascending = " in ascending order" * (name in _ASCENDING)
    return f"{count} {'whole ' * (kind is int)}numbers {bounds}{ascending}"


def _is_number(value: Any, low: float, high: float, kind: type) -> bool:
    number = numbers.Integral if kind is int else numbers.Real
    if not isinstance(value, number) or isinstance(value, bool):
        return False
    return low <= float(value) <= high  # NaN is in no range.
