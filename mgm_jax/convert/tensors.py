"""Files of tensors: safetensors, or PyTorch's format if PyTorch is installed."""

import argparse
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Shaped

from mgm_jax.errors import CheckpointError
from mgm_jax.io import AnyPath, in_bucket, replacing

# Keys under which programs store the state dict: VideoMAE, DeepSpeed, Lightning and many scripts.
_STATE_KEYS = ("model", "module", "state_dict", "model_state_dict")
# What wrappers put before every name: DistributedDataParallel, Lightning and such.
_PREFIXES = ("module.", "model.")
_COMPILED = "_orig_mod."  # torch.compile's, also inside names.
_DEEPSPEED_FILE = "mp_rank_00_model_states.pt"


def read(path: AnyPath) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Reads a state dict, tensors by name, from a .safetensors, .pth, .pt or .bin file.

    Raises:
        CheckpointError: It cannot be read, or PyTorch is needed and not installed.
    """
    if path.suffix != ".safetensors":
        return _unwrapped(_read_torch(path))
    try:
        if in_bucket(path):
            return _unwrapped(safetensors.numpy.load(path.read_bytes()))
        return _unwrapped(safetensors.numpy.load_file(path))
    except Exception as error:  # A damaged header makes the library fail in any way.
        raise CheckpointError(f"{path} is not a readable safetensors file: {error!r}") from error


def deepspeed_file(folder: AnyPath) -> AnyPath | None:
    """The file of the model in a folder that DeepSpeed saved; None if it is no such folder.

    Raises:
        CheckpointError: The model is in several files.
    """
    latest = folder / "latest"
    if latest.is_file():
        folder = folder / latest.read_text().strip()
    file = folder / _DEEPSPEED_FILE
    if file.is_file() and not (folder / _DEEPSPEED_FILE.replace("00", "01")).is_file():
        return file
    if any(folder.glob("*mp_rank_*_model_states.pt")):
        raise CheckpointError(
            f"{folder}: DeepSpeed divided this model into several files; make one file of them "
            "with the script zero_to_fp32.py beside them, and give that"
        )
    return None


def _unwrapped(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A state dict with the model's own names, whatever wrapped it when it was saved."""
    state = {name.replace(_COMPILED, ""): value for name, value in state.items()}
    for _ in _PREFIXES:
        for prefix in _PREFIXES:
            if state and all(name.startswith(prefix) for name in state):
                state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def write(path: AnyPath, state: Mapping[str, np.ndarray]) -> None:
    """Writes a state dict atomically: .safetensors, or {"model": state} in PyTorch's format.

    Raises:
        CheckpointError: PyTorch is needed and not installed.
    """
    if path.suffix == ".safetensors":
        with replacing(path) as file:
            # transformers refuses files without the name of the framework.
            file.write(safetensors.numpy.save(dict(state), {"format": "pt"}))
        return
    torch = _torch(path)
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in state.items()}
    with replacing(path) as file:
        torch.save({"model": tensors}, file)


def _torch(path: AnyPath) -> ModuleType:
    try:
        import torch
    except ImportError as error:
        raise CheckpointError(
            f"{path} is a PyTorch file, and PyTorch is not installed: pip install torch, or use a "
            ".safetensors file, which does not need it"
        ) from error
    return torch


def _read_torch(path: AnyPath) -> dict[str, np.ndarray]:
    torch = _torch(path)
    try:
        # The original's checkpoints also contain the arguments of their run.
        with torch.serialization.safe_globals([argparse.Namespace]), path.open("rb") as file:
            state: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path} is not a file that PyTorch can load: {error}") from error
    while isinstance(state, Mapping):
        inside = next((state[k] for k in _STATE_KEYS if isinstance(state.get(k), Mapping)), None)
        if inside is None:
            break
        state = inside
    if not isinstance(state, Mapping) or not all(
        isinstance(value, torch.Tensor) for value in state.values()
    ):
        raise CheckpointError(
            f"{path} holds no state dict, neither directly nor under the key "
            f"{' or '.join(map(repr, _STATE_KEYS))}"
        )
    try:
        return {name: _array(value, torch) for name, value in state.items()}
    except (NotImplementedError, RuntimeError, TypeError) as error:
        raise CheckpointError(f"{path} holds tensors without usable values: {error}") from error


def _array(tensor: Any, torch: Any) -> np.ndarray:
    # numpy has no bfloat16.
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
