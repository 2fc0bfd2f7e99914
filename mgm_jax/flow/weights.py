"""Reads torchvision's RAFT-Small weights from an .npz file of its state dict."""

import functools
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from mgm_jax import io
from mgm_jax.errors import CheckpointError
from mgm_jax.flow.raft import SMALLEST_SIDE, RaftSmall

HOW_TO_GET = """\
The weights are torchvision's Raft_Small_Weights.C_T_V2. With PyTorch and torchvision:
  python -c "import numpy, torchvision; numpy.savez('raft_small.npz', \
**torchvision.models.optical_flow.raft_small(weights='C_T_V2').state_dict())\""""
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
    """Reads the parameters of `raft.RaftSmall`.

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
            f"{path} does not hold RAFT-Small weights ({error}). {HOW_TO_GET}"
        ) from error
    return traverse_util.unflatten_dict(from_torchvision(arrays, str(path)), sep="/")


def from_torchvision(
    state: Mapping[str, np.ndarray], where: str = "the state dict"
) -> dict[str, np.ndarray]:
    """Renames and transposes the state dict of torchvision's `raft_small`.

    Arrays that have our names already, as files of earlier versions have, are taken as they are.

    Returns:
        The float32 parameters of `raft.RaftSmall` by path, for example "update/gru/...".

    Raises:
        CheckpointError: It is another model's; the message names each tensor that differs.
    """
    shapes = _shapes()
    names = {_torchvision_name(own): own for own in shapes}
    arrays = {}
    for name, array in state.items():
        array = np.asarray(array, np.float32)
        if name in names and array.ndim == 4:
            # Convolutions: [out, in, height, width] to [height, width, in, out].
            array = array.transpose(2, 3, 1, 0)
        arrays[names.get(name, name)] = array
    found = {name: array.shape for name, array in arrays.items()}
    faults = [
        f"\n  {name}: {found.get(name, 'absent')}, should be {shapes.get(name, 'absent')}"
        for name in sorted(found.keys() | shapes.keys())
        if found.get(name) != shapes.get(name)
    ]
    if faults:
        raise CheckpointError(
            f"{where} does not hold the weights of RAFT-Small:{''.join(faults)}\n{HOW_TO_GET}"
        )
    return arrays


@functools.cache
def _shapes() -> dict[str, tuple[int, ...]]:
    clips = jax.ShapeDtypeStruct((1, 2, SMALLEST_SIDE, SMALLEST_SIDE, 3), np.float32)
    variables = jax.eval_shape(RaftSmall().init, jax.random.key(0), clips)
    flat = traverse_util.flatten_dict(variables["params"], sep="/")
    return {name: leaf.shape for name, leaf in flat.items()}


def _torchvision_name(own: str) -> str:
    for part, theirs in _RENAMED_PARTS.items():
        own = own.replace(part, theirs)
    return own
