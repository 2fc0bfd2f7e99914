"""Initialises a model with parameters of another one, and reports which were loaded.

A classifier takes the encoder of a pretrained autoencoder without its decoder; a classifier for
other classes takes everything but the head.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging
from flax import traverse_util
from ml_collections import ConfigDict

from mgm_jax.convert import weights as weights_lib
from mgm_jax.convert.weights import Weights
from mgm_jax.errors import CheckpointError
from mgm_jax.io import AnyPath

# If both models have an encoder (or a decoder), all its parameters must match, except for the final
# LayerNorm, which finetuning drops.
_WHOLE = r"(encoder|decoder)/(?!norm/)"
_HEAD = r"heads?/"
_NAMED = 5


@dataclasses.dataclass(frozen=True)
class Report:
    """Which parameters were loaded, by path.

    Attributes:
        origin: Description of the source.
        loaded: Parameters that both models have.
        dropped: Parameters that only the source has, and its head if it is for other classes.
        fresh: Parameters that keep their initial values: the source has none, or a head for other
            classes.
        for_other_classes: Why the head is for other classes: its shapes or its classes.
    """

    origin: str
    loaded: tuple[str, ...]
    dropped: tuple[str, ...]
    fresh: tuple[str, ...]
    for_other_classes: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            f"initialised from {self.origin}",
            f"  loaded: {_summary(self.loaded)}",
            f"  dropped: {_summary(self.dropped)}",
            f"  fresh: {_summary(self.fresh)}",
        ]
        lines += [f"  for other classes: {line}" for line in self.for_other_classes]
        return "\n".join(lines)


def initialise(
    params: Mapping[str, Any],
    path: str | AnyPath,
    class_names: Sequence[str] = (),
    config: ConfigDict | None = None,
) -> tuple[dict, Report]:
    """Replaces a model's parameters by those of the source at `path` (`weights.read`).

    A source that does not store its number of heads is read with that of `params`.

    Args:
        params: Parameter tree of arrays, or of their shapes and dtypes.
        path: The source.
        class_names: Classes of the model; a head for classes of other names, or in another order,
            is not taken. Empty takes a head of the same shape.
        config: The model's recipe. Its positions and tubelet must be those of the source, and so
            must the size of its clips with "sincos" positions, which number the tokens of a frame
            row by row and continue with the next. None compares shapes only.

    Returns:
        The tree with float32 NumPy arrays where parameters were loaded and the given leaves
        elsewhere, and the report.

    Raises:
        CheckpointError: There is no model at the path, or its encoder (or decoder, if both have
            one) does not match; the message lists the parameters with both shapes, or the
            positions, tubelets or sizes.
    """
    own = traverse_util.flatten_dict(params, sep="/")
    heads = {
        name.split("/")[0]: leaf.shape[-2]
        for name, leaf in own.items()
        if re.search(r"/blocks/0/attention/q_bias$", name)
    }
    weights = weights_lib.read(path, heads, config.get("norm_pix_loss") if config else None)
    other = weights.params
    both = own.keys() & other.keys()
    unfit = {name for name in both if tuple(own[name].shape) != other[name].shape}
    unfit_heads = {name for name in unfit if re.match(_HEAD, name)}
    parts = {name.split("/")[0] for name in own} & {name.split("/")[0] for name in other}
    of_one = {
        name
        for name in own.keys() ^ other.keys()
        if re.match(_WHOLE, name) and name.split("/")[0] in parts
    }
    faults = [_shapes(name, other, own) for name in sorted((unfit - unfit_heads) | of_one)]
    if config is not None:
        faults += _other_inputs(weights, config)
    if faults:
        flags = _flags_of(weights, "decoder" in parts, config)
        raise CheckpointError(
            f"{weights.origin} ({weights.architecture}) does not fit the model:\n  "
            + "\n  ".join(faults)
            + f"\nGive another config.init_from, or a model of the source's shape: {flags}"
        )
    for_others = [_shapes(name, other, own) for name in sorted(unfit_heads)]
    fitting_heads = {name for name in both - unfit if re.match(_HEAD, name)}
    if fitting_heads and class_names and not _same_classes(weights, class_names):
        unfit |= fitting_heads
        of_source, of_model = (
            ", ".join(names[:_NAMED]) for names in (weights.class_names, class_names)
        )
        for_others.append(f"head: {of_source}, … in the source, {of_model}, … in the model")
    loaded = both - unfit
    taken = {name: other[name] if name in loaded else leaf for name, leaf in own.items()}
    report = Report(
        origin=f"{weights.origin} ({weights.architecture})",
        loaded=tuple(sorted(loaded)),
        dropped=tuple(sorted(other.keys() - loaded)),
        fresh=tuple(sorted(own.keys() - loaded)),
        for_other_classes=tuple(for_others),
    )
    return traverse_util.unflatten_dict(taken, sep="/"), report


def _other_inputs(weights: Weights, config: ConfigDict) -> list[str]:
    """How the clips and positions of a config differ from the source's, where no shape tells."""
    theirs, model = weights.architecture, config.model
    values: dict[str, tuple[Any, Any]] = {
        "model.positions": (theirs.encoder.positions, model.positions),
        "model.tubelet": (tuple(theirs.tubelet), tuple(model.tubelet)),
    }
    if model.positions == "sincos" and weights.size is None:
        logging.warning(
            "%s does not say the size of its clips; its positions fit that size only, "
            "config.data.size=%d here",
            *(weights.origin, config.data.size),
        )
    elif model.positions == "sincos":
        values["data.size"] = (weights.size, config.data.size)
    return [
        f"config.{name}: {source} in the source, {own} in the model"
        for name, (source, own) in values.items()
        if source != own
    ]


def _same_classes(weights: Weights, class_names: Sequence[str]) -> bool:
    """Whether a head of the same shape is for these classes; if it has no names, it is."""
    if not all(re.fullmatch(r"LABEL_\d+", name) for name in weights.class_names):
        return tuple(class_names) == weights.class_names
    logging.warning(
        "%s does not name its %d classes; its head is taken as if they were those of the data "
        "in the same order: %s, …",
        weights.origin,
        len(class_names),
        ", ".join(class_names[:_NAMED]),
    )
    return True


def _flags_of(weights: Weights, with_decoder: bool, config: ConfigDict | None) -> str:
    """The flags that give a model the shape of the source, and its clips their size."""
    architecture = weights.architecture
    encoder, decoder = architecture.encoder, architecture.decoder
    values: dict[str, Any] = {}
    for part, shape in (("encoder", encoder), ("decoder", decoder if with_decoder else None)):
        if shape is not None:
            values |= {f"{part}.{name}": getattr(shape, name) for name in ("dim", "depth", "heads")}
    values["tubelet"] = "'({},{},{})'".format(*architecture.tubelet)
    values |= {"backbone": encoder.backbone, "positions": encoder.positions}
    values = {f"model.{name}": value for name, value in values.items()}
    size = None if config is None or weights.size == config.data.size else weights.size
    if encoder.positions == "sincos" and size is not None:
        # A host crop as much larger as with the paper's sizes, 256 and 224, and even.
        values |= {
            "data.size": size,
            "data.host_crop_size": 2 * round(size * 256 / 224 / 2),
        }
    return " ".join(f"--config.{name}={value}" for name, value in values.items())


def _shapes(name: str, other: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    source, model = (
        str(tuple(tree[name].shape)) if name in tree else "absent" for tree in (other, own)
    )
    return f"{name}: {source} in the source, {model} in the model"


def _summary(names: Sequence[str]) -> str:
    """Counts the tensors of each part, as in "encoder/blocks (144), encoder/embed (2)"."""
    counts: dict[str, int] = {}
    for name in names:
        part = "/".join(name.split("/")[: 2 if name.startswith(("encoder/", "decoder/")) else 1])
        counts[part] = counts.get(part, 0) + 1
    return ", ".join(f"{part} ({count})" for part, count in counts.items()) or "nothing"
