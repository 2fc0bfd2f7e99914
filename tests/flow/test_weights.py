import json

import jax
import numpy as np
import pytest
from flax import traverse_util

from mgm_jax import io
from mgm_jax.errors import CheckpointError
from mgm_jax.flow import raft, weights
from tests.flow import make_reference


@pytest.fixture(scope="module")
def state():
    return make_reference.make_weights(json.loads(make_reference.FILE.read_text())["shapes"])


def test_every_tensor_of_torchvision_is_read(tmp_path, state):
    np.savez(tmp_path / "raft.npz", **state)
    params = weights.load_weights(tmp_path / "raft.npz")
    clips = jax.ShapeDtypeStruct((1, 2, 64, 64, 3), np.float32)
    expected = jax.eval_shape(raft.RaftSmall().init, jax.random.key(0), clips)["params"]
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), params) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), expected
    )
    arrays = traverse_util.flatten_dict(params, sep="/")
    assert sorted(array.sum() for array in arrays.values()) == pytest.approx(
        sorted(array.sum() for array in state.values()), abs=1e-3
    )
    weight = state["update_block.recurrent_block.convgru1.convq.weight"]
    kernel = arrays["update/gru/candidate/kernel"]
    np.testing.assert_array_equal(kernel[1, 2, 100], weight[:, 100, 1, 2])
    # Files of earlier versions have our names.
    io.write_arrays(tmp_path / "ours.npz", arrays)
    again = traverse_util.flatten_dict(weights.load_weights(tmp_path / "ours.npz"), sep="/")
    assert again.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)


def test_a_state_dict_that_does_not_fit_is_refused_with_all_differences(state):
    faulty = dict(state)
    del faulty["update_block.flow_head.conv2.bias"]
    faulty["mask_predictor.conv.weight"] = np.zeros((576, 256, 1, 1))
    faulty["feature_encoder.conv.bias"] = np.zeros(256)
    with pytest.raises(CheckpointError, match=r"^weights\.npz ") as refusal:
        weights.from_torchvision(faulty, "weights.npz")
    assert [line for line in str(refusal.value).splitlines() if line.startswith("  ")][:3] == [
        "  feature_encoder/projection/bias: (256,), should be (128,)",
        "  mask_predictor.conv.weight: (576, 256, 1, 1), should be absent",
        "  update/flow_head/conv2/bias: absent, should be (2,)",
    ]


@pytest.mark.parametrize("content", [None, b"", b"not weights", b"PK\x03\x04 cut off", "other"])
def test_a_file_without_the_weights_is_refused_with_the_cure(tmp_path, content):
    path = tmp_path / "raft.npz"
    if content == "other":
        io.write_arrays(path, {"encoder/kernel": np.zeros((3, 3), np.float32)})
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"(?s)raft\.npz.*savez.*C_T_V2"):
        weights.load_weights(path)
