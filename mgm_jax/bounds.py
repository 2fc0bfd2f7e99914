"""The kind of every value of a config, and the range in which it can work."""

import numbers
from collections.abc import Mapping
from typing import Any

from mgm_jax.errors import ConfigError

_LARGE = 2**31 - 1  # Steps are counted with 32 bits.

WHOLE_NUMBERS: dict[str, tuple[int, int]] = {
    "seed": (0, 2**32 - 1),
    **dict.fromkeys(
        (
            *("batch_size", "grad_accum_steps", "num_steps", "stop_at_step", "log_every"),
            *("checkpoint_every", "checkpoints_kept", "num_pictures", "eval.batch_size"),
            *("augment.mix_group_size",),
        ),
        (1, _LARGE),
    ),
    **dict.fromkeys(("warmup_steps", "pictures_every", "eval.every", "eval.subset"), (0, _LARGE)),
    "data.clip_frames": (1, 2**12),
    "data.stride": (1, 2**16),
    "data.size": (1, 2**13),
    "data.host_crop_size": (1, 2**14),
    "data.repeated_augmentation": (1, 2**10),
    "data.num_workers": (0, 2**12),
    **dict.fromkeys(("eval.temporal_views", "eval.spatial_views"), (1, 2**10)),
    **dict.fromkeys(("model.encoder.dim", "model.decoder.dim"), (1, 2**16)),
    **dict.fromkeys(("model.encoder.depth", "model.decoder.depth"), (1, 2**10)),
    **dict.fromkeys(("model.encoder.heads", "model.decoder.heads"), (1, 2**10)),
    **dict.fromkeys(("mesh.data", "mesh.fsdp", "mesh.tensor"), (-1, 2**20)),
    "augment.rand_augment_layers": (0, 2**4),
}

_TINY = 1e-9  # In place of more than 0.
NUMBERS: dict[str, tuple[float, float]] = {
    "epochs": (_TINY, 1e9),
    "warmup_epochs": (0, 1e9),
    "data.read_timeout": (_TINY, 1e9),
    **dict.fromkeys(("masking.jitter", "masking.velocity"), (0, 1e3)),
    **dict.fromkeys(("optimizer.base_lr", "optimizer.min_lr", "optimizer.warmup_lr"), (0, 1e6)),
    **dict.fromkeys(("optimizer.b1", "optimizer.b2"), (0, 1 - _TINY)),
    **dict.fromkeys(("model.drop_path", "model.head_dropout"), (0, 0.999)),
    "optimizer.eps": (0, 1),
    "optimizer.weight_decay": (0, 1e6),
    "optimizer.layer_decay": (_TINY, 1e3),
    "optimizer.clip_norm": (_TINY, 1e30),
    "model.head_init_scale": (0, 1e6),
    **dict.fromkeys(("masking.ratio", "probe.held_out"), (_TINY, 1 - _TINY)),
    **dict.fromkeys(
        (
            *("data.max_bad_fraction", "augment.rand_augment_probability", "augment.erasing"),
            *("augment.mix_probability", "augment.cutmix_share"),
        ),
        (0, 1),
    ),
    **dict.fromkeys(("eval.holdout", "augment.label_smoothing"), (0, 1 - _TINY)),
    **dict.fromkeys(("augment.mixup", "augment.cutmix"), (0, 1e3)),
    **dict.fromkeys(("augment.rand_augment_magnitude", "augment.rand_augment_std"), (0, 10)),
}

# How many numbers (None: at least one), their smallest and largest, and whether they are whole.
_LISTS: dict[str, tuple[int | None, float, float, bool]] = {
    "data.scales": (None, 1e-3, 1, False),
    "data.area": (2, 1e-6, 1, False),
    "profile_steps": (2, 0, _LARGE, True),
    "model.tubelet": (3, 1, 2**12, True),
    "probe.learning_rate_factors": (None, 0, 1e6, False),
}
_ASCENDING = ("data.area", "profile_steps")

_TEXTS = (
    *("init_from", "data.path", "data.root", "data.split", "data.flow_path", "data.flow_weights"),
    *("eval.path", "eval.root", "eval.split", "masking.strategy", "model.size"),
)
_SWITCHES = (
    *("allow_config_change", "data.flip", "data.allow_damage", "model.scan", "norm_pix_loss"),
    *("eval.allow_overlap", "masking.guide_first_tubelet", "probe.batch_norm", "probe.layer_norm"),
)
_MAY_BE_NONE = frozenset(
    (
        *("num_steps", "warmup_steps", "stop_at_step", "optimizer.clip_norm", "masking.ratio"),
        *(f"model.{part}.{name}" for part in ("encoder", "decoder") for name in ("dim", "depth")),
        *("model.encoder.heads", "model.decoder.heads", "eval.path", "eval.root"),
    )
)


def check_bounds(values: Mapping[str, Any]) -> None:
    """Refuses a value of another kind or out of its range; values are by dotted name.

    Raises:
        ConfigError: Names the value and what it may be.
    """
    for name, value in values.items():
        expected = None if value is None and name in _MAY_BE_NONE else _expected(name, value)
        if expected is not None:
            raise ConfigError(f"config.{name}={value!r} must be {expected}")


def _expected(name: str, value: Any) -> str | None:
    """What a value may be, in words; None if it is."""
    if name in WHOLE_NUMBERS or name in NUMBERS:
        whole = name in WHOLE_NUMBERS
        low, high = WHOLE_NUMBERS[name] if whole else NUMBERS[name]
        if _is_number(value, low, high, whole):
            return None
        return f"a {'whole ' * whole}number of {low:g} to {high:.10g}"
    if name in _LISTS:
        count, low, high, whole = _LISTS[name]
        values = value if isinstance(value, tuple | list) else ()
        fits = len(values) == count if count else len(values) > 0
        fits = fits and all(_is_number(one, low, high, whole) for one in values)
        if fits and not (name in _ASCENDING and sorted(values) != list(values)):
            return None
        ascending = " in ascending order" * (name in _ASCENDING)
        kind = "whole numbers" if whole else "numbers"
        return f"{count or 'one or more'} {kind} of {low:g} to {high:.10g}{ascending}"
    if name in _TEXTS:
        return None if isinstance(value, str) else "text"
    if name in _SWITCHES:
        return None if isinstance(value, bool) else "True or False"
    return None


def _is_number(value: Any, low: float, high: float, whole: bool) -> bool:
    kind = numbers.Integral if whole else numbers.Real
    if not isinstance(value, kind) or isinstance(value, bool):
        return False
    return low <= float(value) <= high  # NaN is in no range.
