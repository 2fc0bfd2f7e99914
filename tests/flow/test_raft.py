import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from mgm_jax.flow import correlation, raft
from mgm_jax.flow.weights import from_torchvision
from tests.flow import make_reference

REFERENCE = json.loads(make_reference.FILE.read_text())


@pytest.fixture(scope="module")
def params():
    arrays = from_torchvision(make_reference.make_weights(REFERENCE["shapes"]))
    return traverse_util.unflatten_dict(arrays, sep="/")


@pytest.fixture(scope="module")
def run_all():
    """The flow from one image to another after each update, in pixels."""

    @jax.jit
    def run(params, image1, image2):
        clips = jnp.stack([image2, image1], axis=1)
        flows = raft.RaftSmall().apply({"params": params}, clips)
        return jax.vmap(raft.upsample_flow)(flows[:, :, 0])

    return run


@pytest.fixture(scope="module")
def stages(params, run_all):
    """Our network, stage by stage, on the inputs of the reference."""

    @jax.jit
    def run(params, image1, image2, flow):
        features = [
            raft.Encoder(128, normalise=True).apply({"params": params["feature_encoder"]}, image)
            for image in (image1, image2)
        ]
        encoded = raft.Encoder(160, normalise=False).apply(
            {"params": params["context_encoder"]}, image1
        )
        rows, columns = np.mgrid[: flow.shape[1], : flow.shape[2]]
        pyramid = correlation.correlation_pyramid(*features)
        correlations = correlation.look_up(pyramid, flow + np.stack([columns, rows], axis=-1))
        hidden, context = jnp.split(encoded, [96], axis=-1)
        (hidden, updated_flow), _ = raft.FlowUpdate().apply(
            {"params": params["update"]}, (jnp.tanh(hidden), flow), jax.nn.relu(context), pyramid
        )
        return {
            "features1": features[0],
            "features2": features[1],
            "context": encoded,
            "correlations": correlations,
            "updated_hidden": hidden,
            "flow_change": updated_flow - flow,
        }

    image1, image2 = make_reference.make_images()
    flows = run_all(params, image1, image2)
    found = run(params, 2 * image1 - 1, 2 * image2 - 1, make_reference.make_flow())
    return found | {"first_flow": flows[0], "final_flow": flows[-1]}


@pytest.mark.parametrize("stage", REFERENCE["stages"])
def test_each_stage_equals_torchvision(stages, stage):
    expected = REFERENCE["stages"][stage]
    found = make_reference.summarise(np.asarray(stages[stage]))
    assert found["shape"] == expected["shape"]
    tolerance = 1e-4 * expected["std"]
    for name in ("values", "mean", "std"):
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=tolerance)


def test_flow_motion_is_the_flow_back_to_the_previous_frame_negated(params, run_all):
    height, width = make_reference.HEIGHT, make_reference.WIDTH
    clips = np.random.default_rng(0).random((2, 3, height, width, 3), np.float32)
    motion, valid = jax.jit(raft.flow_motion)(params, clips)
    assert motion.shape == (2, 3, height // 8, width // 8, 2)
    np.testing.assert_array_equal(valid, [[False, True, True]] * 2)
    np.testing.assert_array_equal(motion[:, 0], 0)
    for clip, of_clip in zip(clips, np.asarray(motion), strict=True):
        for number in (1, 2):
            flow = np.asarray(run_all(params, clip[[number]], clip[[number - 1]])[-1, 0])
            cells = flow.reshape(height // 8, 8, width // 8, 8, 2).mean(axis=(1, 3))
            scale = np.abs(cells).max()
            assert scale > 1
            np.testing.assert_allclose(of_clip[number], -cells, rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize(
    ("frames", "height", "width", "message"),
    [
        (2, 64, 60, "60x64.*resize or pad"),
        (2, 100, 128, "128x100.*resize or pad"),
        (2, 56, 64, "64x56.*resize or pad"),
        (1, 64, 64, "at least 2 frames"),
    ],
)
def test_clips_that_do_not_fit_are_refused_with_the_cure(params, frames, height, width, message):
    with pytest.raises(ValueError, match=message):
        raft.flow_motion(params, jnp.zeros((1, frames, height, width, 3)))
