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
The weights are torchvision's Raft_Small_Weights.C_T_V2. With PyTorch and torchvision:
  python -c "import torch, torchvision; torch.save(torchvision.models.optical_flow.raft_small(\
weights='C_T_V2').state_dict(), 'raft_small_C_T_V2.pth')"
  python -m mgm_jax.flow.convert --weights=raft_small_C_T_V2.pth --out=raft_small.npz"""
_RENAMED_PARTS = {
    "update/": "update_block/",
    "correlations": "convcorr1.0",
    "flow1": "convflow1.0",
    "flow2": "convflow2.0",
    "joint": "conv.0",
    "gru/": "recurrent_block/convgru1/",
    "update_gate": "convz",
    "reset_gate": "convr",
    "candidate": "convq",
    "stem": "convnormrelu.0",
    "projection": "conv",
    "stage": "layer",
    "_block1": ".0",
    "_block2": ".1",
    "reduce": "convnormrelu1.0",
    "spatial": "convnormrelu2.0",
    "expand": "convnormrelu3.0",
    "shortcut": "downsample.0",
    "kernel": "weight",
    "/": ".",
}


def load_weights(path: str | os.PathLike) -> dict[str, Any]:
    """Reads the parameters of `raft.RaftSmall` from an .npz that `convert` wrote.

    Raises:
        CheckpointError: The file is missing, is no such .npz, or its arrays do not fit.
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
    """Renames and transposes the state dict of torchvision's `raft_small`.

    Returns the float32 parameters of `raft.RaftSmall` by path, for example "update/gru/...".

    Raises:
        CheckpointError: The state dict is another model's; the message lists the tensors that
            differ and gives the state dict's `name`.
    """
    _check_fit({key: np.shape(value) for key, value in state.items()}, torchvision_shapes(), name)
    arrays = {}
    for own, theirs in _torchvision_names().items():
        array = np.asarray(state[theirs], np.float32)
        # Convolutions: [out, in, height, width] to [height, width, in, out].
        arrays[own] = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
    return arrays


def torchvision_shapes() -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of torchvision's state dict by its name."""
    shapes = {}
    for own, theirs in _torchvision_names().items():
        *kernel, last = _own_shapes()[own]
        shapes[theirs] = (last, *kernel[2:], *kernel[:2])
    return shapes


def convert(weights: str | os.PathLike, out: str | os.PathLike) -> None:
    """Converts a state dict saved by `torch.save` to an .npz; errors are `CheckpointError`s."""
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
            f"reading {path} needs PyTorch, which is not installed: pip install torch, or convert "
            "the weights on another machine and copy the .npz"
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


def _check_fit(
    found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], where: str
) -> None:
    faults = [
        *(f"missing: {name} {expected[name]}" for name in expected.keys() - found.keys()),
        *(f"unexpected: {name} {found[name]}" for name in found.keys() - expected.keys()),
        *(
            f"wrong shape: {name} {found[name]}, should be {expected[name]}"
            for name in expected.keys() & found.keys()
            if tuple(found[name]) != expected[name]
        ),
    ]
    if faults:
        listing = "\n  ".join(sorted(faults))
        raise CheckpointError(
            f"{where} does not hold the weights of RAFT-Small. Differences from its "
            f"{len(expected)} tensors:"
            f"\n  {listing}\n{HOW_TO_GET}"
        )


@functools.cache
def _own_shapes() -> dict[str, tuple[int, ...]]:
    clips = jax.ShapeDtypeStruct((1, 2, SMALLEST_SIDE, SMALLEST_SIDE, 3), np.float32)
    variables = jax.eval_shape(RaftSmall().init, jax.random.key(0), clips)
    flat = traverse_util.flatten_dict(variables["params"], sep="/")
    return {name: leaf.shape for name, leaf in flat.items()}


@functools.cache
def _torchvision_names() -> dict[str, str]:
    """Names of torchvision's tensors by the path of our parameter."""
    names = {own: own for own in _own_shapes()}
    for own, theirs in _RENAMED_PARTS.items():
        names = {name: renamed.replace(own, theirs) for name, renamed in names.items()}
    return names


def main(argv: Sequence[str]) -> None:
    """Converts the file given by the flags."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    try:
        convert(flags.FLAGS.weights, flags.FLAGS.out)
    except CheckpointError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    # Defined here only, because commands that import each other may share flag names.
    flags.DEFINE_string("weights", None, "torchvision's raft_small state dict.", required=True)
    flags.DEFINE_string("out", None, "The .npz to write.", required=True)
    app.run(main)
