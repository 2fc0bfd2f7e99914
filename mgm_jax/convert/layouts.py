"""Converts between our parameters and PyTorch state dicts of VideoMAE.

There are two layouts: "original", that of the VideoMAE repository, whose finetuned models lack the
prefix `encoder.`; and "hugging_face", that of transformers' `VideoMAEForPreTraining` and
`VideoMAEForVideoClassification`. In PyTorch the weight of a linear layer is [out, in], here it is
[in, out], with an axis of heads in attention. The patch embedding is a 3-D convolution in PyTorch
and a matrix here. Query, key and value weights are one tensor in the original and three in Hugging
Face. Neither layout stores position tables.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from mgm_jax.convert.architecture import (
    Architecture,
    FlatParams,
    Part,
    check_fit,
    heads_of,
    parameter_shapes,
)
from mgm_jax.errors import CheckpointError
from mgm_jax.models.layers import TransformerConfig

Layout = Literal["hugging_face", "original"]
State = Mapping[str, Shaped[np.ndarray, "..."]]

# Names in a block: ours, the original's, Hugging Face's (several tensors are concatenated).
_BLOCK = (
    ("norm1/scale", "norm1.weight", "layernorm_before.weight"),
    ("norm1/bias", "norm1.bias", "layernorm_before.bias"),
    (
        "attention/qkv/kernel",
        "attn.qkv.weight",
        "attention.attention.query.weight attention.attention.key.weight "
        "attention.attention.value.weight",
    ),
    # As in the files on the hub. transformers 5 writes query.bias and value.bias and loads both;
    # transformers 4 loads only these.
    ("attention/q_bias", "attn.q_bias", "attention.attention.q_bias"),
    ("attention/v_bias", "attn.v_bias", "attention.attention.v_bias"),
    ("attention/proj/kernel", "attn.proj.weight", "attention.output.dense.weight"),
    ("attention/proj/bias", "attn.proj.bias", "attention.output.dense.bias"),
    ("norm2/scale", "norm2.weight", "layernorm_after.weight"),
    ("norm2/bias", "norm2.bias", "layernorm_after.bias"),
    ("mlp/fc1/kernel", "mlp.fc1.weight", "intermediate.dense.weight"),
    ("mlp/fc1/bias", "mlp.fc1.bias", "intermediate.dense.bias"),
    ("mlp/fc2/kernel", "mlp.fc2.weight", "output.dense.weight"),
    ("mlp/fc2/bias", "mlp.fc2.bias", "output.dense.bias"),
)

_HF_EMBEDDING = "videomae.embeddings.patch_embeddings.projection"

# Names outside the blocks; "{encoder}" is "encoder." in the original's autoencoders, else empty.
_OUTSIDE = (
    ("encoder/embed/kernel", "{encoder}patch_embed.proj.weight", f"{_HF_EMBEDDING}.weight"),
    ("encoder/embed/bias", "{encoder}patch_embed.proj.bias", f"{_HF_EMBEDDING}.bias"),
    ("encoder/norm/scale", "{encoder}norm.weight", "videomae.layernorm.weight"),
    ("encoder/norm/bias", "{encoder}norm.bias", "videomae.layernorm.bias"),
    ("encoder_to_decoder/kernel", "encoder_to_decoder.weight", "encoder_to_decoder.weight"),
    ("mask_token", "mask_token", "mask_token"),
    ("decoder/norm/scale", "decoder.norm.weight", "decoder.norm.weight"),
    ("decoder/norm/bias", "decoder.norm.bias", "decoder.norm.bias"),
    ("decoder/head/kernel", "decoder.head.weight", "decoder.head.weight"),
    ("decoder/head/bias", "decoder.head.bias", "decoder.head.bias"),
    ("norm/scale", "fc_norm.weight", "fc_norm.weight"),
    ("norm/bias", "fc_norm.bias", "fc_norm.bias"),
    ("head/kernel", "head.weight", "classifier.weight"),
    ("head/bias", "head.bias", "classifier.bias"),
)

_BLOCKS: dict[Part, tuple[str, str]] = {
    "encoder": ("{encoder}blocks.", "videomae.encoder.layer."),
    "decoder": ("decoder.blocks.", "decoder.decoder_layers."),
}


def find_layout(state: State, where: str) -> tuple[Layout, State]:
    """Recognises the layout of a state dict, which comes from a file called `where`.

    Returns:
        The layout, and the state dict with alternative spellings of names made uniform.

    Raises:
        CheckpointError: It has neither layout, or a tensor is empty.
    """
    empty = next((name for name, value in state.items() if 0 in value.shape), None)
    if empty is not None:
        raise CheckpointError(f"{where}: {empty} is empty; get the file again")
    if any(name.startswith("embeddings.patch_embeddings.") for name in state):
        # transformers' `VideoMAEModel`: an encoder alone.
        state = {f"videomae.{name}": value for name, value in state.items()}
    if any(name.startswith("videomae.") for name in state):
        for new, old in (("query.bias", "q_bias"), ("value.bias", "v_bias")):
            state = {
                name.replace(f"attention.attention.{new}", f"attention.attention.{old}"): value
                for name, value in state.items()
            }
        return "hugging_face", state
    if any(re.match(r"(encoder\.)?patch_embed\.proj\.", name) for name in state):
        return "original", state
    sample = ", ".join(sorted(state)[:5]) or "none at all"
    raise CheckpointError(
        f"{where} holds no VideoMAE: its names ({sample} ...) are neither those of Hugging Face "
        "(videomae.embeddings...) nor of the original (encoder.patch_embed..., patch_embed...)"
    )


def infer_architecture(
    state: State, layout: Layout, heads: Mapping[str, int], where: str
) -> Architecture:
    """Infers the architecture from the shapes in a state dict that `find_layout` returned.

    Shapes tell all but the number of heads: see `heads_of`, which takes `heads` by part.

    Raises:
        CheckpointError: Tensors that are needed are missing, or the number of heads is unknown.
    """
    column = 1 if layout == "hugging_face" else 0
    prefix = "encoder." if any(name.startswith("encoder.") for name in state) else ""

    def transformer(part: Part) -> TransformerConfig:
        blocks = _BLOCKS[part][column].format(encoder=prefix)
        first = blocks + "0." + ("intermediate.dense.weight", "mlp.fc1.weight")[1 - column]
        if first not in state or state[first].ndim != 2:
            raise CheckpointError(f"{where} has no matrix {first}, so its {part} is incomplete")
        hidden, dim = state[first].shape
        number = re.compile(re.escape(blocks) + r"(\d+)\.")
        return TransformerConfig(
            dim,
            1 + max(int(found[1]) for name in state if (found := number.match(name))),
            heads_of(part, dim, heads, where),
            hidden / dim,
        )

    names = {ours: theirs[column].format(encoder=prefix) for ours, *theirs in _OUTSIDE}
    embedding = state.get(names["encoder/embed/kernel"])
    if embedding is None or embedding.ndim != 5:
        raise CheckpointError(
            f"{where} has no 3-D convolution {names['encoder/embed/kernel']}, which embeds tubelets"
        )
    head = state.get(names["head/kernel"])
    return Architecture(
        encoder=transformer("encoder"),
        tubelet=tuple(embedding.shape[2:]),
        decoder=transformer("decoder") if "mask_token" in state else None,
        num_classes=None if head is None else head.shape[0],
        final_norm=names["encoder/norm/scale"] in state,
    )


def from_state(state: State, architecture: Architecture, layout: Layout, where: str) -> FlatParams:
    """Converts a state dict that `find_layout` returned, of any float types, to our parameters.

    Raises:
        CheckpointError: Tensors are missing, unexpected, misshapen, or not floats.
    """
    for part, config in (("encoder", architecture.encoder), ("decoder", architecture.decoder)):
        if config and config.depth > len(state):
            raise CheckpointError(
                f"{where} holds {len(state)} tensors, too few for the {config.depth} blocks of its "
                f"{part}; get the file again"
            )
    shapes, names = parameter_shapes(architecture), _names(architecture, layout)
    leaves = {ours: jax.ShapeDtypeStruct(shape, np.float32) for ours, shape in shapes.items()}
    expected = jax.eval_shape(lambda params: _to_theirs(params, architecture, names), leaves)
    check_fit(
        {name: value.shape for name, value in state.items()},
        {name: value.shape for name, value in expected.items()},
        f"{where} is not the state dict of: {architecture}",
    )
    for name, value in state.items():
        # numpy's own `issubdtype` does not know bfloat16.
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise CheckpointError(f"{where}: {name} is {value.dtype}, not a floating-point tensor")

    def convert(ours: str) -> np.ndarray:
        array = np.concatenate([np.asarray(state[name], np.float32) for name in names[ours]])
        if ours == "encoder/embed/kernel":
            array = array.transpose(2, 3, 4, 1, 0)
        elif ours.endswith("kernel"):
            array = array.T
        return np.ascontiguousarray(array.reshape(shapes[ours]))

    return {ours: convert(ours) for ours in shapes}


def to_state(
    params: Mapping[str, np.ndarray], architecture: Architecture, layout: Layout, where: str
) -> dict[str, np.ndarray]:
    """Converts parameters to a state dict of contiguous float32 tensors; undoes `from_state`.

    Raises:
        CheckpointError: The model has no counterpart in this layout.
    """
    if architecture.kind == "encoder":
        raise CheckpointError(
            f"{where} is neither an autoencoder nor a finetuned classifier (its parameters: "
            f"{', '.join(sorted({name.split('/')[0] for name in params}))}); only these have a "
            "counterpart in VideoMAE's files"
        )
    if architecture.encoder.backbone != "vit" or architecture.encoder.positions != "sincos":
        raise CheckpointError(
            f"{where} is a {architecture}; only the ViT with VideoMAE's own positions has a "
            "counterpart in VideoMAE's files"
        )
    shapes, names = parameter_shapes(architecture), _names(architecture, layout)
    found = {name: value.shape for name, value in params.items()}
    check_fit(found, shapes, f"{where} has no counterpart in VideoMAE's files: {architecture}")
    arrays = {ours: np.asarray(array, np.float32) for ours, array in params.items()}
    state = _to_theirs(arrays, architecture, names)
    return {theirs: np.ascontiguousarray(array) for theirs, array in state.items()}


def _to_theirs(
    params: Mapping[str, Any], architecture: Architecture, names: Mapping[str, tuple[str, ...]]
) -> dict[str, Any]:
    """Shapes and cuts parameters, NumPy's or traced ones, as the tensors of a state dict."""
    tensors: dict[str, Any] = {}
    for ours, array in params.items():
        if ours == "encoder/embed/kernel":
            pieces = [array.reshape(*architecture.tubelet, 3, -1).transpose(4, 3, 0, 1, 2)]
        elif ours == "mask_token":
            pieces = [array.reshape(1, 1, -1)]
        elif ours.endswith("kernel"):
            # Attention's output projection has two axes of inputs, heads and features.
            inputs = math.prod(array.shape[: 2 if ours.endswith("attention/proj/kernel") else 1])
            pieces = array.reshape(inputs, -1).T.reshape(len(names[ours]), -1, inputs)
        else:
            pieces = [array.reshape(-1)]
        tensors |= zip(names[ours], pieces, strict=True)
    return tensors


def _names(architecture: Architecture, layout: Layout) -> dict[str, tuple[str, ...]]:
    """Maps the path of each parameter to the names of the tensors that it concatenates."""
    column = 1 if layout == "hugging_face" else 0
    prefix = "encoder." if architecture.kind == "autoencoder" else ""
    names: dict[str, tuple[str, ...]] = {
        ours: (theirs[column].format(encoder=prefix),) for ours, *theirs in _OUTSIDE
    }
    parts = {"encoder": architecture.encoder, "decoder": architecture.decoder}
    for part, prefixes in _BLOCKS.items():
        config = parts[part]
        for i in range(config.depth if config else 0):
            block = f"{prefixes[column].format(encoder=prefix)}{i}."
            for ours, *theirs in _BLOCK:
                tensors = theirs[column].split()
                names[f"{part}/blocks/{i}/{ours}"] = tuple(block + tensor for tensor in tensors)
    return names
