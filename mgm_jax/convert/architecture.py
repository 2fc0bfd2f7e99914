"""The architecture of a model, and the shapes of its parameters."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Literal

import flax.linen as nn
import jax
import numpy as np
from flax import traverse_util
from jaxtyping import Float32
from ml_collections import ConfigDict

from mgm_jax.errors import CheckpointError
from mgm_jax.models import classifier, mae, vit
from mgm_jax.models.layers import TransformerConfig

FlatParams = dict[str, Float32[np.ndarray, "..."]]
"""Parameters by their path in the tree, such as "encoder/blocks/0/norm1/scale"."""

Part = Literal["encoder", "decoder"]
Shapes = Mapping[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Architecture of an autoencoder, of a classifier, or of an encoder alone.

    Attributes:
        encoder: Shape of the encoder.
        tubelet: Size of a tubelet in frames, pixels, pixels.
        decoder: Shape of an autoencoder's decoder.
        num_classes: Number of a classifier's classes.
        final_norm: For an encoder alone, whether it ends with a LayerNorm, as that of an
            autoencoder does and that of a classifier does not.
    """

    encoder: TransformerConfig
    tubelet: tuple[int, int, int]
    decoder: TransformerConfig | None = None
    num_classes: int | None = None
    final_norm: bool = True

    @property
    def kind(self) -> Literal["autoencoder", "classifier", "encoder"]:
        """What the model is."""
        if self.decoder is not None:
            return "autoencoder"
        return "encoder" if self.num_classes is None else "classifier"

    def __str__(self) -> str:
        encoder, decoder = self.encoder, self.decoder
        text = f"{self.kind}, encoder {encoder.dim}/{encoder.depth}/{encoder.heads}"
        if encoder.backbone != "vit":
            text = f"{encoder.backbone} {text}"
        if encoder.positions != "sincos":
            text += f", positions {encoder.positions}"
        if decoder is not None:
            text += f", decoder {decoder.dim}/{decoder.depth}/{decoder.heads}"
        if self.num_classes is not None:
            text += f", {self.num_classes} classes"
        return f"{text} (dim/depth/heads), tubelet {'x'.join(map(str, self.tubelet))}"


@functools.lru_cache(maxsize=16)
def parameter_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter by its path.

    A ViT's parameters do not depend on the shape of clips, as its position table is computed.
    TimeSformer's learned positions have the shapes for clips of 1x1x2 tubelets.
    """
    encoder, tubelet = architecture.encoder, architecture.tubelet
    grid, (frames, height, width) = (1, 1, 2), tubelet
    clips = jax.ShapeDtypeStruct((1, frames, height, 2 * width, 3), np.float32)
    inputs: tuple[jax.ShapeDtypeStruct, ...] = (clips,)
    model: nn.Module
    if architecture.decoder is not None:
        model = mae.MaskedAutoencoder(encoder, architecture.decoder, grid, tubelet)
        inputs += (jax.ShapeDtypeStruct((1, 1), np.int32),) * 2
    elif architecture.num_classes is not None:
        model = classifier.Classifier(encoder, grid, architecture.num_classes, tubelet)
    else:
        model = vit.Encoder(encoder, grid, tubelet, final_norm=architecture.final_norm)
    params = jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"]
    if architecture.kind == "encoder":
        params = {"encoder": params}
    return {path: leaf.shape for path, leaf in traverse_util.flatten_dict(params, sep="/").items()}


def from_config(config: ConfigDict, num_classes: int) -> Architecture:
    """The architecture of a run's model; that of a linear probe is its encoder alone."""

    def shape(part: Part) -> TransformerConfig:
        own = vit.transformer_config(config.model, part)
        return TransformerConfig(
            *(own.dim, own.depth, own.heads, own.mlp_ratio),
            backbone=own.backbone,
            positions=own.positions,
        )

    return Architecture(
        encoder=shape("encoder"),
        tubelet=tuple(config.model.tubelet),
        decoder=shape("decoder") if config.task == "pretrain" else None,
        num_classes=num_classes if config.task == "finetune" else None,
        final_norm=config.task != "finetune",
    )


def heads_of(part: Part, dim: int, given: Mapping[str, int], where: str) -> int:
    """The number of heads of a part, for files that do not store it, such as VideoMAE's own.

    *Decision*: unless it is given, it is that of VideoMAE's model of the same width `dim`.

    Raises:
        CheckpointError: VideoMAE has no model of this width, and `given` does not have the part.
    """
    if part in given:
        return given[part]
    for size in vit.SIZES.values():
        if size[part].dim == dim:
            return size[part].heads
    raise CheckpointError(
        f"{where} does not store how many heads its {part} has, and VideoMAE has no {part} of "
        f"width {dim}; give --{part}_heads"
    )


def check_fit(found: Shapes, expected: Shapes, where: str) -> None:
    """Checks that tensors have exactly the expected names and shapes.

    Raises:
        CheckpointError: They have not; the message, after `where`, lists each tensor at fault.
    """
    both = found.keys() & expected.keys()
    faults = {
        "missing": [f"{name} {expected[name]}" for name in expected.keys() - both],
        "unexpected": [f"{name} {found[name]}" for name in found.keys() - both],
        "misshapen": [
            f"{name} {found[name]}, should be {expected[name]}"
            for name in both
            if math.prod(found[name]) == 0 or tuple(found[name]) != tuple(expected[name])
        ],
    }
    if any(faults.values()):
        lines = [f"{fault}: {name}" for fault, names in faults.items() for name in sorted(names)]
        raise CheckpointError(f"{where}; of {len(expected)} tensors:\n  " + "\n  ".join(lines))
