import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from flax import traverse_util

from mgm_jax import io
from mgm_jax.errors import CheckpointError
from mgm_jax.flow import convert, raft
from tests.flow import make_reference

REFERENCE = json.loads(make_reference.FILE.read_text())
SHAPES = {name: tuple(shape) for name, shape in REFERENCE["shapes"].items()}
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def state():
    return make_reference.make_weights(SHAPES)


def test_every_tensor_of_torchvision_is_written_and_read_back(tmp_path, state):
    assert convert.torchvision_shapes() == SHAPES
    arrays = convert.from_torchvision(state)
    io.write_arrays(tmp_path / "raft.npz", arrays)
    params = convert.load_weights(tmp_path / "raft.npz")
    clips = jax.ShapeDtypeStruct((1, 2, 64, 64, 3), np.float32)
    expected = jax.eval_shape(raft.RaftSmall().init, jax.random.key(0), clips)["params"]
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), params) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), expected
    )
    read = traverse_util.flatten_dict(params, sep="/")
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)
    assert sorted(array.sum() for array in arrays.values()) == pytest.approx(
        sorted(array.sum() for array in state.values()), abs=1e-3
    )


def test_a_state_dict_that_does_not_fit_is_refused_with_all_differences(state):
    faulty = dict(state)
    del faulty["update_block.flow_head.conv2.bias"]
    faulty["mask_predictor.conv.weight"] = np.zeros((576, 256, 1, 1))
    faulty["feature_encoder.conv.bias"] = np.zeros(256)
    with pytest.raises(CheckpointError, match=r"^weights\.pth ") as refusal:
        convert.from_torchvision(faulty, "weights.pth")
    assert [line for line in str(refusal.value).splitlines() if line.startswith("  ")][:3] == [
        "  missing: update_block.flow_head.conv2.bias (2,)",
        "  unexpected: mask_predictor.conv.weight (576, 256, 1, 1)",
        "  wrong shape: feature_encoder.conv.bias (256,), should be (128,)",
    ]


@pytest.mark.parametrize("content", [None, b"", b"not weights", b"PK\x03\x04 cut off", "other"])
def test_a_file_without_the_weights_is_refused_with_the_cure(tmp_path, content):
    path = tmp_path / "raft.npz"
    if content == "other":
        io.write_arrays(path, {"encoder/kernel": np.zeros((3, 3), np.float32)})
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"(?s)raft\.npz.*C_T_V2.*-m mgm_jax\.flow\.convert"):
        convert.load_weights(path)


def test_without_torch_the_conversion_says_so(tmp_path, monkeypatch):
    (tmp_path / "raft.pth").write_bytes(b"weights")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(CheckpointError, match="pip install torch"):
        convert.convert(tmp_path / "raft.pth", tmp_path / "raft.npz")


def test_a_file_that_is_no_state_dict_is_refused(tmp_path):
    torch = pytest.importorskip("torch", reason="reads PyTorch files")
    (tmp_path / "text.pth").write_bytes(b"weights")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("text.pth", "list.pth", "absent.pth"):
        with pytest.raises(CheckpointError, match=rf"(?s){name}.*flow\.convert"):
            convert.convert(tmp_path / name, tmp_path / "raft.npz")
    assert not (tmp_path / "raft.npz").exists()


@pytest.mark.slow
def test_the_command_converts_what_torch_saved(tmp_path, state):
    torch = pytest.importorskip("torch", reason="reads PyTorch files")
    tensors = {name: torch.tensor(array) for name, array in state.items()}
    torch.save(tensors, tmp_path / "raft.pth")
    files = [f"--weights={tmp_path / 'raft.pth'}", f"--out={tmp_path / 'made' / 'raft.npz'}"]
    command = [sys.executable, "-m", "mgm_jax.flow.convert", *files]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    read = traverse_util.flatten_dict(convert.load_weights(tmp_path / "made" / "raft.npz"), sep="/")
    kernel = read["update/gru/candidate/kernel"]
    weight = state["update_block.recurrent_block.convgru1.convq.weight"]
    np.testing.assert_array_equal(kernel[1, 2, 100], weight[:, 100, 1, 2])
