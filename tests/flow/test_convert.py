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


def test_the_expected_tensors_are_torchvisions():
    assert convert.torchvision_shapes() == SHAPES


def test_every_tensor_arrives_once_in_the_models_shapes(state):
    arrays = convert.from_torchvision(state)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    variables = jax.eval_shape(raft.RaftSmall().init, jax.random.key(0), image, image)
    wanted = traverse_util.flatten_dict(variables["params"], sep="/")
    assert {name: (leaf.shape, leaf.dtype) for name, leaf in wanted.items()} == {
        name: (array.shape, array.dtype) for name, array in arrays.items()
    }
    assert sorted(array.sum() for array in arrays.values()) == pytest.approx(
        sorted(array.sum() for array in state.values()), abs=1e-3
    )


def test_written_weights_are_read_back_as_a_tree(tmp_path, state):
    arrays = convert.from_torchvision(state)
    io.write_arrays(tmp_path / "raft.npz", arrays)
    params = convert.load_weights(tmp_path / "raft.npz")
    read = traverse_util.flatten_dict(params, sep="/")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)


def test_a_state_dict_that_does_not_fit_is_refused_with_all_its_faults(state):
    faulty = dict(state)
    del faulty["update_block.flow_head.conv2.bias"]
    faulty["mask_predictor.conv.weight"] = np.zeros((576, 256, 1, 1))
    faulty["feature_encoder.conv.bias"] = np.zeros(256)
    with pytest.raises(CheckpointError, match="of 106 tensors") as refusal:
        convert.from_torchvision(faulty, "weights.pth")
    message = str(refusal.value)
    assert message.startswith("weights.pth ")
    assert "missing: update_block.flow_head.conv2.bias (2,)" in message
    assert "unexpected: mask_predictor.conv.weight (576, 256, 1, 1)" in message
    assert "misshapen: feature_encoder.conv.bias (256,), should be (128,)" in message
    assert message.count("\n  missing") + message.count("\n  unexpected") == 2


def test_weights_of_another_network_are_refused(tmp_path):
    io.write_arrays(tmp_path / "other.npz", {"encoder/kernel": np.zeros((3, 3), np.float32)})
    with pytest.raises(CheckpointError, match="unexpected: encoder/kernel"):
        convert.load_weights(tmp_path / "other.npz")


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 cut off"])
def test_a_file_that_holds_no_arrays_is_refused(tmp_path, content):
    path = tmp_path / "raft.npz"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"(?s)does not hold converted.*flow\.convert"):
        convert.load_weights(path)


def test_missing_weights_are_told_where_to_get(tmp_path):
    for read in (convert.load_weights, lambda path: convert.convert(path, tmp_path / "out.npz")):
        with pytest.raises(CheckpointError, match="C_T_V2") as refusal:
            read(tmp_path / "absent")
        assert str(tmp_path / "absent") in str(refusal.value)
        assert "python -m mgm_jax.flow.convert" in str(refusal.value)
        assert "state_dict(), 'raft_small_C_T_V2.pth')" in str(refusal.value)


def test_without_torch_the_conversion_says_so(tmp_path, monkeypatch):
    (tmp_path / "raft.pth").write_bytes(b"weights")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(CheckpointError, match="pip install torch"):
        convert.convert(tmp_path / "raft.pth", tmp_path / "raft.npz")


def test_a_file_that_torch_cannot_load_is_refused(tmp_path):
    torch = pytest.importorskip("torch", reason="reads PyTorch files")
    (tmp_path / "raft.pth").write_bytes(b"weights")
    with pytest.raises(CheckpointError, match="not a state dict that PyTorch can load"):
        convert.convert(tmp_path / "raft.pth", tmp_path / "raft.npz")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="holds a list"):
        convert.convert(tmp_path / "list.pth", tmp_path / "raft.npz")
    assert not (tmp_path / "raft.npz").exists()


def test_the_command_converts_what_torch_saved(tmp_path, state):
    torch = pytest.importorskip("torch", reason="reads PyTorch files")
    tensors = {name: torch.tensor(array) for name, array in state.items()}
    torch.save(tensors, tmp_path / "raft.pth")
    command = [
        sys.executable,
        "-m",
        "mgm_jax.flow.convert",
        f"--weights={tmp_path / 'raft.pth'}",
        f"--out={tmp_path / 'made' / 'raft.npz'}",
    ]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    read = traverse_util.flatten_dict(convert.load_weights(tmp_path / "made" / "raft.npz"), sep="/")
    kernel = read["update/gru/candidate/kernel"]
    weight = state["update_block.recurrent_block.convgru1.convq.weight"]
    np.testing.assert_array_equal(kernel[1, 2, 100], weight[:, 100, 1, 2])
