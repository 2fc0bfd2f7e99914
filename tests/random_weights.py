"""Small models with random parameters, made without compiling anything."""

import dataclasses
import pathlib
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict
from shrunk import recipe

from mgm_jax.convert.architecture import Architecture, parameter_shapes
from mgm_jax.convert.weights import Weights
from mgm_jax.models.layers import TransformerConfig
from mgm_jax.training import runs
from mgm_jax.training.checkpoints import Checkpoints

ENCODER, DECODER, TUBELET = TransformerConfig(24, 2, 3), TransformerConfig(16, 1, 2), (2, 8, 8)
# VideoMAE has no such widths, so files that do not say their heads need them.
HEADS = {"encoder": 3, "decoder": 2}
AUTOENCODER = Architecture(ENCODER, TUBELET, DECODER)
CLASSIFIER = Architecture(ENCODER, TUBELET, num_classes=5, final_norm=False)


def timesformer(backbone: str) -> Architecture:
    """The autoencoder with another backbone."""
    encoder = dataclasses.replace(ENCODER, backbone=backbone)
    return dataclasses.replace(AUTOENCODER, encoder=encoder)


def random_params(architecture: Architecture, seed: int = 0) -> dict[str, np.ndarray]:
    """Normal parameters by path, of deviation 0.2."""
    r = np.random.default_rng(seed)
    return {
        name: (0.2 * r.standard_normal(shape)).astype(np.float32)
        for name, shape in parameter_shapes(architecture).items()
    }


def random_weights(architecture: Architecture, seed: int = 0) -> Weights:
    """A model for clips of 4 frames of 16 pixels."""
    names = tuple(f"class {i}" for i in range(architecture.num_classes or 0))
    return Weights(random_params(architecture, seed), architecture, "random", 4, 16, names)


def write_run(
    workdir: pathlib.Path,
    params: dict[str, np.ndarray],
    task: str = "pretrain",
    classes: Sequence[str] = (),
    **changes: object,
) -> ConfigDict:
    """A run of a model above as training leaves it, but for its optimizer; returns its config."""
    shapes = {"model__encoder": {"dim": 24, "depth": 2, "heads": 3}, "model__positions": "sincos"}
    if task == "pretrain":
        shapes["model__decoder"] = {"dim": 16, "depth": 1, "heads": 2}
    config = recipe(f"demo_{task}", workdir, **(shapes | changes))
    state = {
        "params": traverse_util.unflatten_dict(params, sep="/"),
        "opt_state": {"mu": jnp.ones(3)},
        "step": jnp.int32(7),
    }
    checkpoints = Checkpoints(workdir / "checkpoints")
    checkpoints.save(7, state, {"next_batch": 7}, config)
    checkpoints.close()
    runs.describe_run(workdir, config, classes)
    return config


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Bit for bit."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == np.float32, name
        np.testing.assert_array_equal(found[name], value, err_msg=name)
