"""What a file of parameters says of its model."""

import dataclasses
import functools
import math
import re
from collections.abc import Mapping
from typing import Literal

import jax
import numpy as np
from flax import traverse_util
from jaxtyping import Float32

from mgm_jax.errors import CheckpointError
from mgm_jax.models import classifier, mae, vit

# Parameters by their path in the tree, as "encoder/blocks/0/norm1/scale".
FlatParams = dict[str, Float32[np.ndarray, "..."]]


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Shape of an autoencoder, of a classifier, or of an encoder alone.

    Attributes:
        encoder: Shape of the encoder.
        tubelet: Size of a tubelet in frames, pixels, pixels.
        decoder: Shape of the decoder; None but for an autoencoder.
        num_classes: Number of classes; None but for a classifier.
        final_norm: Whether an encoder alone ends with its LayerNorm. That of an autoencoder does,
            that of a classifier does not.
        backbone: The encoder's, a name in `vit.BACKBONES`.
    """

    encoder: vit.TransformerSettings
    tubelet: tuple[int, int, int]
    decoder: vit.TransformerSettings | None = None
    num_classes: int | None = None
    final_norm: bool = True
    backbone: str = "vit"

    @property
    def kind(self) -> Literal["autoencoder", "classifier", "encoder"]:
        """What the model is."""
        if self.decoder is not None:
            return "autoencoder"
        return "encoder" if self.num_classes is None else "classifier"

    def __str__(self) -> str:
        encoder, decoder = self.encoder, self.decoder
        text = f"{self.kind}, encoder {encoder.dim}/{encoder.depth}/{encoder.heads}"
        if self.backbone != "vit":
            text = f"{self.backbone} {text}"
        if decoder is not None:
            text += f", decoder {decoder.dim}/{decoder.depth}/{decoder.heads}"
        if self.num_classes is not None:
            text += f", {self.num_classes} classes"
        return f"{text} (dim/depth/heads), tubelet {'x'.join(map(str, self.tubelet))}"


@functools.lru_cache(maxsize=16)
def parameter_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Path and shape of every parameter.

    The number of frames and their size do not matter: VideoMAE's position tables are computed, not
    stored. TimeSformer's are learned; they are here those of one step of one row of two tubelets.

    Args:
        architecture: Of the model.

    Returns:
        Shapes by path.
    """
    t, h, w = architecture.tubelet
    clips = jax.ShapeDtypeStruct((1, t, h, 2 * w, 3), np.float32)
    token = jax.ShapeDtypeStruct((1, 1), np.int32)
    encoder, grid, tubelet = architecture.encoder, (1, 1, 2), architecture.tubelet
    backbone = architecture.backbone
    if architecture.decoder is not None:
        settings = vit.AutoencoderSettings(encoder, architecture.decoder)
        model = mae.MaskedAutoencoder(settings, grid, tubelet, backbone=backbone)
        inputs = (clips, token, token)
    elif architecture.num_classes is not None:
        model = classifier.Classifier(
            encoder, grid, architecture.num_classes, tubelet, backbone=backbone
        )
        inputs = (clips,)
    else:
        model = vit.Encoder(
            encoder, grid, tubelet, final_norm=architecture.final_norm, backbone=backbone
        )
        inputs = (clips,)
    params = jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"]
    if architecture.kind == "encoder":
        params = {"encoder": params}
    return {path: leaf.shape for path, leaf in traverse_util.flatten_dict(params, sep="/").items()}


def from_parameters(
    shapes: Mapping[str, tuple[int, ...]], tubelet: tuple[int, int, int]
) -> Architecture:
    """Reads the architecture off our own parameters.

    Args:
        shapes: Shapes by path, of blocks that are not stacked.
        tubelet: Size of a tubelet.

    Returns:
        The architecture.
    """
    decoder = _transformer(shapes, "decoder") if "mask_token" in shapes else None
    head = shapes.get("head/kernel")
    return Architecture(
        encoder=_transformer(shapes, "encoder"),
        tubelet=tubelet,
        decoder=decoder,
        num_classes=None if head is None else head[1],
        final_norm="encoder/norm/scale" in shapes,
        backbone=_backbone(shapes),
    )


def _backbone(shapes: Mapping[str, tuple[int, ...]]) -> str:
    if "encoder/positions/time" not in shapes:
        return "vit"
    divided = "encoder/blocks/0/temporal_fc/kernel" in shapes
    return "timesformer_divided" if divided else "timesformer_joint"


def _transformer(shapes: Mapping[str, tuple[int, ...]], part: str) -> vit.TransformerSettings:
    dim, hidden = shapes[f"{part}/blocks/0/mlp/fc1/kernel"]
    heads, _ = shapes[f"{part}/blocks/0/attention/q_bias"]
    return vit.TransformerSettings(
        dim, count_blocks(shapes, rf"{part}/blocks/(\d+)/"), heads, hidden / dim
    )


def count_blocks(names: Mapping[str, object], pattern: str) -> int:
    """The highest block number in the names, plus one."""
    found = (re.match(pattern, name) for name in names)
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def heads_of(part: str, dim: int, given: Mapping[str, int], where: str) -> int:
    """Number of heads where a file does not say it, as the original checkpoints do not.

    *Decision*: that of VideoMAE's own model of this width.

    Args:
        part: "encoder" or "decoder".
        dim: Its width.
        given: Heads by part, which win.
        where: The file, for the message.

    Returns:
        The number of heads.

    Raises:
        CheckpointError: VideoMAE has no such width, and none is given.
    """
    if part in given:
        return given[part]
    for size in vit.SIZES.values():
        settings = getattr(size, part)
        if settings.dim == dim:
            return settings.heads
    raise CheckpointError(
        f"{where} does not say how many heads its {part} has, and VideoMAE has no {part} of width "
        f"{dim}; give --{part}_heads"
    )


def check_fit(
    found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], where: str
) -> None:
    """Refuses tensors that are not exactly those expected.

    Args:
        found: Shapes by name.
        expected: Shapes by name.
        where: What holds the tensors and what they should be, for the message.

    Raises:
        CheckpointError: Listing the missing, the unexpected and the misshapen tensors.
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
