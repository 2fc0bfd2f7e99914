"""Damaged and nonsensical weights are refused by name."""

import contextlib
import dataclasses
import json
import math

import pytest
from random_weights import (
    AUTOENCODER,
    CLASSIFIER,
    HEADS,
    random_params,
    random_weights,
)

from mgm_jax.convert import layouts, tensors, weights
from mgm_jax.errors import CheckpointError

BOTH = pytest.mark.parametrize("architecture", [AUTOENCODER, CLASSIFIER])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model.safetensors", "short", r"model\.safetensors"),
        ("config.json", "{", r"config\.json is not JSON"),
        ("config.json", {"hidden_act": "relu"}, "'relu'"),
        ("config.json", {"patch_size": [8, 4]}, r"patch_size.*\[8, 4\]"),
        ("config.json", {"num_hidden_layers": 3}, r"missing: videomae\.encoder\.layer\.2\."),
        ("config.json", {"use_mean_pooling": False}, "use_mean_pooling"),
        ("config.json", {"id2label": {"0": "a", "1": "b"}}, r"misshapen: classifier\.weight"),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path, file, content, message):
    weights.write_hugging_face(tmp_path, random_weights(CLASSIFIER))
    file = tmp_path / file
    if isinstance(content, dict):
        content = json.dumps(json.loads(file.read_text()) | content)
    file.write_text(content)
    with pytest.raises(CheckpointError, match=message):
        weights.read(tmp_path)


NONSENSE = (None, -1, 7, 2.5, math.nan, math.inf, 10**9, 10**30, "x", [], [1, 2], {}, True, False)


@BOTH
def test_a_config_with_any_other_value_is_refused_or_read_as_it_says(tmp_path, architecture):
    weights.write_hugging_face(tmp_path, random_weights(architecture))
    file = tmp_path / "config.json"
    right = json.loads(file.read_text())
    harmless = right | {"qkv_bias": True, "id2label": None}
    switches = {"norm_pix_loss", "use_mean_pooling"}
    for name in harmless.keys() - {
        "id2label",
        "architectures",
        "exported_by",
        "label2id",
        "torch_dtype",
    }:
        for value in NONSENSE:
            file.write_text(json.dumps(right | {name: value}))
            if harmless[name] is value or (name in switches and isinstance(value, bool)):
                with contextlib.suppress(CheckpointError):
                    assert weights.read(tmp_path).norm_pix_loss == (
                        value if name == "norm_pix_loss" else True
                    )
                continue
            with pytest.raises(CheckpointError, match=str(tmp_path)):
                weights.read(tmp_path)
    for content in ("null", "[]", "[" * 9000, ""):
        file.write_text(content)
        with pytest.raises(CheckpointError, match=r"config\.json"):
            weights.read(tmp_path)


TENSOR = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("videomae.a", 3),
        ("videomae.a", {"shape": [9 * 10**9] * 2}),
        ("videomae.a", {"shape": [-1]}),
        ("videomae.a", {"data_offsets": [0, 4 * 10**12]}),
        ("videomae.a", {"data_offsets": [0, 0], "shape": [0]}),
        ("videomae.a", {"dtype": "F8_E4M3", "shape": [4]}),
        ("videomae.a", {"dtype": "I32"}),
        ("videomae.encoder.layer.999999999.a", {}),
    ],
)
@pytest.mark.parametrize("length", [None, 0, 2**40, 2**64 - 1])
def test_a_safetensors_file_with_another_header_is_refused(tmp_path, name, change, length):
    file = tmp_path / "model.safetensors"
    header = json.dumps({name: change if change == 3 else TENSOR | change}).encode()
    length = len(header) if length is None else length
    file.write_bytes(length.to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        weights.read(file)


def test_a_file_that_announces_more_blocks_than_it_holds_is_refused(tmp_path):
    state = layouts.to_state(random_params(CLASSIFIER), CLASSIFIER, "original", "random")
    name = next(name for name in state if name.startswith("blocks.1."))
    state[name.replace("blocks.1.", "blocks.1000000000.")] = state.pop(name)
    tensors.write(tmp_path / "model.safetensors", state)
    with pytest.raises(CheckpointError, match=r"1000000001 blocks"):
        weights.read(tmp_path / "model.safetensors", HEADS)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, value):
    params = random_params(CLASSIFIER)
    name = "encoder/blocks/1/mlp/fc1/bias"
    params[name][3] = value
    weights.write_hugging_face(
        tmp_path, dataclasses.replace(random_weights(CLASSIFIER), params=params)
    )
    with pytest.raises(CheckpointError, match=rf"{name} .*NaN"):
        weights.read(tmp_path)


def test_other_refusals(tmp_path):
    for path, message in ((tmp_path, "config.json"), (tmp_path / "absent", "absent")):
        with pytest.raises(CheckpointError, match=message):
            weights.read(path)
    with pytest.raises(CheckpointError, match=r"model\.npz.*\.safetensors, \.pth"):
        weights.write_original(tmp_path / "model.npz", random_weights(CLASSIFIER))
    unsized = dataclasses.replace(random_weights(CLASSIFIER), size=None)
    with pytest.raises(CheckpointError, match="--to=run"):
        weights.write_hugging_face(tmp_path / "folder", unsized)


def test_what_pytorch_cannot_use_is_refused(tmp_path, torch):
    (tmp_path / "broken.pth").write_bytes(b"no pickle")
    torch.save({"model": 3}, tmp_path / "number.pth")
    for name in ("broken.pth", "number.pth"):
        with pytest.raises(CheckpointError, match=name):
            weights.read(tmp_path / name)
