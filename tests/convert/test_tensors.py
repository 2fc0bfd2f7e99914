"""State dicts as programs wrap them, in PyTorch's files."""

import argparse

import numpy as np
import pytest
import safetensors.numpy
from random_weights import AUTOENCODER, HEADS, assert_equal, random_params

from mgm_jax.convert import layouts, tensors, weights
from mgm_jax.errors import CheckpointError

PARAMS = random_params(AUTOENCODER)
STATE = layouts.to_state(PARAMS, AUTOENCODER, "original", "random")


def prefixed(prefix):
    return {f"{prefix}{name}": value for name, value in STATE.items()}


WRAPPED = {
    "bare": STATE,
    "model": {"model": STATE, "epoch": 3, "args": argparse.Namespace(lr=0.1)},
    "state_dict": {"state_dict": STATE, "optimizer": {"state": {}}},
    "lightning": {"state_dict": prefixed("model.")},
    "compiled": {"model": prefixed("_orig_mod.")},
    "parallel": {"state_dict": prefixed("module.")},
    "both": {"model": prefixed("module._orig_mod.")},
    "compiled_parts": {
        name.replace("encoder.", "encoder._orig_mod.", 1): value for name, value in STATE.items()
    },
    "nested": {"module": {"model_state_dict": STATE}},
}


def as_tensors(tree, torch):
    if isinstance(tree, dict):
        return {name: as_tensors(value, torch) for name, value in tree.items()}
    return torch.from_numpy(tree.copy()) if isinstance(tree, np.ndarray) else tree


@pytest.mark.parametrize("form", WRAPPED)
def test_a_wrapped_state_dict_is_read(tmp_path, torch, form):
    torch.save(as_tensors(WRAPPED[form], torch), tmp_path / "model.pth")
    read = weights.read(tmp_path / "model.pth", HEADS)
    assert read.architecture == AUTOENCODER
    assert_equal(read.params, PARAMS)


def test_parameters_are_tensors_and_those_without_values_are_refused(tmp_path, torch):
    file = tmp_path / "model.pth"
    torch.save({n: torch.nn.Parameter(torch.from_numpy(v)) for n, v in STATE.items()}, file)
    read = tensors.read(file)
    assert read.keys() == STATE.keys()
    assert all((read[name] == value).all() for name, value in STATE.items())
    torch.save({"a": torch.empty(3, device="meta")}, file)
    with pytest.raises(CheckpointError, match=r"model\.pth holds tensors without usable values"):
        tensors.read(file)


def test_names_in_safetensors_may_be_wrapped_too(tmp_path):
    file = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(prefixed("module."), file)
    assert tensors.read(file).keys() == STATE.keys()


def test_a_folder_of_deepspeed_is_read(tmp_path, torch):
    step = tmp_path / "global_step12"
    step.mkdir()
    (tmp_path / "latest").write_text("global_step12\n")
    saved = {"module": STATE, "ds_version": "0.14", "param_shapes": [], "dp_world_size": 8}
    torch.save(as_tensors(saved, torch), step / "mp_rank_00_model_states.pt")
    for folder in (tmp_path, step):
        assert_equal(weights.read(folder, HEADS).params, PARAMS)
    (step / "mp_rank_01_model_states.pt").touch()
    with pytest.raises(CheckpointError, match=r"zero_to_fp32\.py"):
        weights.read(tmp_path, HEADS)
