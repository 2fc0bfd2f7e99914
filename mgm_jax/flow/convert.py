"""Converts torchvision's RAFT-Small weights, and reads converted ones.

    python -m mgm_jax.flow.convert --weights=raft_small_C_T_V2.pth --out=raft_small.npz

Only the conversion needs PyTorch. The .npz holds one float32 array per parameter, named by its
path in the parameter tree (`feature_encoder/stem/kernel`).
"""

import functools
import os
import pathlib
import pickle
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import app, flags, logging
from flax import traverse_util

from mgm_jax import io
from mgm_jax.errors import CheckpointError
from mgm_jax.flow.raft import SMALLEST_SIDE, RaftSmall

HOW_TO_GET = """\
They are torchvision's Raft_Small_Weights.C_T_V2. With PyTorch and torchvision installed, run:
  python -c "import torch, torchvision; torch.save(torchvision.models.optical_flow.raft_small(\
weights='C_T_V2').state_dict(), 'raft_small_C_T_V2.pth')"
  python -m mgm_jax.flow.convert --weights=raft_small_C_T_V2.pth --out=raft_small.npz"""


def load_weights(path: str | os.PathLike) -> dict[str, Any]:
    """Reads parameters of `raft.RaftSmall` from the .npz that `convert` wrote.

    Raises:
        CheckpointError: The file is missing, of another kind, or its arrays do not fit.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise CheckpointError(f"no RAFT-Small weights at {path.absolute()}. {HOW_TO_GET}")
    try:
        arrays = io.read_arrays(path)
    except ValueError as error:
        raise CheckpointError(
            f"{path} does not hold converted RAFT-Small weights ({error}). {HOW_TO_GET}"
        ) from error
    _check_fit({name: array.shape for name, array in arrays.items()}, _own_shapes(), str(path))
    return traverse_util.unflatten_dict(arrays, sep="/")


def from_torchvision(
    state: Mapping[str, np.ndarray], name: str = "the state dict"
) -> dict[str, np.ndarray]:
    """Renames and transposes torchvision's weights.

    Args:
        state: State dict of `torchvision.models.optical_flow.raft_small`.
        name: Of the state dict, for messages.

    Returns:
        float32 parameters of `raft.RaftSmall` by path, names joined with "/".

    Raises:
        CheckpointError: The state dict is another model's; lists the tensors that differ.
    """
    _check_fit({key: np.shape(value) for key, value in state.items()}, torchvision_shapes(), name)
    return {
        own: _to_own_layout(np.asarray(state[theirs], np.float32))
        for own, theirs in _torchvision_names().items()
    }


def torchvision_shapes() -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor in torchvision's state dict."""
    shapes = _own_shapes()
    return {
        theirs: (shapes[own][3], shapes[own][2], *shapes[own][:2])
        if len(shapes[own]) == 4
        else shapes[own]
        for own, theirs in _torchvision_names().items()
    }


def convert(weights: str | os.PathLike, out: str | os.PathLike) -> None:
    """Converts a state dict saved by `torch.save` to an .npz; raises `CheckpointError`."""
    arrays = from_torchvision(_read_torch(pathlib.Path(weights)), str(weights))
    io.write_arrays(pathlib.Path(out), arrays)
    logging.info("wrote %s: %d tensors", out, len(arrays))


def _read_torch(path: pathlib.Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise CheckpointError(f"no file {path.absolute()}. {HOW_TO_GET}")
    try:
        import torch
    except ImportError as error:
        raise CheckpointError(
            f"reading {path} needs PyTorch, which is not installed: pip install torch (or convert "
            "on another machine and copy the .npz)"
        ) from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a state dict that PyTorch can load ({error}). {HOW_TO_GET}"
        ) from error
    if not isinstance(state, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(state).__name__}, not a state dict. {HOW_TO_GET}"
        )
    return {
        name: value.numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        for name, value in state.items()
    }


def _to_own_layout(array: np.ndarray) -> np.ndarray:
    """Transposes a convolution from [out, in, height, width] to [height, width, in, out]."""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


def _check_fit(
    found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], where: str
) -> None:
    faults = [
        *(f"missing: {name} {expected[name]}" for name in expected.keys() - found.keys()),
        *(f"unexpected: {name} {found[name]}" for name in found.keys() - expected.keys()),
        *(
            f"misshapen: {name} {found[name]}, should be {expected[name]}"
            for name in expected.keys() & found.keys()
            if tuple(found[name]) != expected[name]
        ),
    ]
    if faults:
        listing = "\n  ".join(sorted(faults))
        raise CheckpointError(
            f"{where} does not hold the weights of RAFT-Small; of {len(expected)} tensors:"
            f"\n  {listing}\n{HOW_TO_GET}"
        )


@functools.cache
def _own_shapes() -> dict[str, tuple[int, ...]]:
    image = jax.ShapeDtypeStruct((1, SMALLEST_SIDE, SMALLEST_SIDE, 3), np.float32)
    variables = jax.eval_shape(RaftSmall().init, jax.random.key(0), image, image)
    flat = traverse_util.flatten_dict(variables["params"], sep="/")
    return {name: leaf.shape for name, leaf in flat.items()}


@functools.cache
def _torchvision_names() -> dict[str, str]:
    """Path in our parameter tree to name in torchvision's state dict."""
    modules = {
        "update/motion_encoder/correlations": "update_block.motion_encoder.convcorr1.0",
        "update/motion_encoder/flow1": "update_block.motion_encoder.convflow1.0",
        "update/motion_encoder/flow2": "update_block.motion_encoder.convflow2.0",
        "update/motion_encoder/joint": "update_block.motion_encoder.conv.0",
        "update/gru/update_gate": "update_block.recurrent_block.convgru1.convz",
        "update/gru/reset_gate": "update_block.recurrent_block.convgru1.convr",
        "update/gru/candidate": "update_block.recurrent_block.convgru1.convq",
        "update/flow_head/conv1": "update_block.flow_head.conv1",
        "update/flow_head/conv2": "update_block.flow_head.conv2",
    }
    block_modules = {
        "reduce": "convnormrelu1.0",
        "spatial": "convnormrelu2.0",
        "expand": "convnormrelu3.0",
        "shortcut": "downsample.0",
    }
    for encoder in ("feature_encoder", "context_encoder"):
        modules[f"{encoder}/stem"] = f"{encoder}.convnormrelu.0"
        modules[f"{encoder}/projection"] = f"{encoder}.conv"
        for stage in (1, 2, 3):
            for block in (1, 2):
                for own, theirs in block_modules.items():
                    if own == "shortcut" and (stage == 1 or block == 2):
                        continue
                    modules[f"{encoder}/stage{stage}_block{block}/{own}"] = (
                        f"{encoder}.layer{stage}.{block - 1}.{theirs}"
                    )
    return {
        f"{own}/{leaf}": f"{theirs}.{their_leaf}"
        for own, theirs in modules.items()
        for leaf, their_leaf in (("kernel", "weight"), ("bias", "bias"))
    }


def _define_flags() -> None:
    flags.DEFINE_string("weights", None, "torchvision's raft_small state dict.", required=True)
    flags.DEFINE_string("out", None, "The .npz to write.", required=True)


def main(argv: Sequence[str]) -> None:
    """Converts the file that the flags name."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    try:
        convert(flags.FLAGS.weights, flags.FLAGS.out)
    except CheckpointError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    # Only in the program itself: another command imported beside it may have equal names.
    _define_flags()
    app.run(main)
