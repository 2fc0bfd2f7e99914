"""What a model takes over from another: all accounted for, nothing forced."""

import dataclasses
import re

import jax
import numpy as np
import pytest
from flax import traverse_util
from random_weights import (
    AUTOENCODER,
    CLASSIFIER,
    TUBELET,
    assert_equal,
    random_weights,
    timesformer,
    write_run,
)

from mgm_jax.convert import weights
from mgm_jax.convert.architecture import parameter_shapes
from mgm_jax.convert.init_from import initialise
from mgm_jax.errors import CheckpointError
from mgm_jax.models import blocks, classifier
from mgm_jax.models.layers import TransformerConfig


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A pretrained autoencoder and a finetuned classifier, in Hugging Face's folders."""
    root = tmp_path_factory.mktemp("models")
    for name, architecture in (("pretrained", AUTOENCODER), ("finetuned", CLASSIFIER)):
        weights.write_hugging_face(root / name, random_weights(architecture))
    return root


def fresh(architecture):
    """A parameter tree of ones."""
    flat = {
        name: np.ones(shape, np.float32) for name, shape in parameter_shapes(architecture).items()
    }
    return traverse_util.unflatten_dict(flat, sep="/")


def flatten(tree):
    return traverse_util.flatten_dict(tree, sep="/")


def test_a_classifier_takes_an_autoencoders_encoder(folders):
    params, report = initialise(fresh(CLASSIFIER), folders / "pretrained")
    pretrained, flat = random_weights(AUTOENCODER).params, flatten(params)
    loaded = {name for name in flat if name.startswith(("encoder/embed/", "encoder/blocks/"))}
    assert set(report.loaded) == loaded
    assert_equal({n: flat[n] for n in loaded}, {n: pretrained[n] for n in loaded})
    assert report.fresh == ("head/bias", "head/kernel", "norm/bias", "norm/scale")
    assert all(np.all(flat[name] == 1) for name in report.fresh)
    assert set(report.dropped) == pretrained.keys() - loaded
    assert {"encoder/norm/scale", "mask_token", "decoder/head/kernel"} <= set(report.dropped)
    assert report.for_other_classes == ()
    assert "loaded: encoder/blocks (26), encoder/embed (2)\n" in str(report)


@pytest.mark.parametrize("change", [lambda params: params, blocks.stack])
def test_the_same_model_is_taken_whole_stacked_or_not(folders, change):
    params, report = initialise(change(fresh(AUTOENCODER)), folders / "pretrained")
    assert_equal(flatten(blocks.unstack(params)), random_weights(AUTOENCODER).params)
    assert (report.dropped, report.fresh) == ((), ())


def test_a_head_for_other_classes_starts_afresh(folders):
    three = dataclasses.replace(CLASSIFIER, num_classes=3)
    params, report = initialise(fresh(three), folders / "finetuned")
    assert report.fresh == report.dropped == ("head/bias", "head/kernel")
    assert "head/kernel: (24, 5) in the source, (24, 3) in the model" in str(report)
    assert np.all(params["head"]["kernel"] == 1)
    np.testing.assert_array_equal(
        params["norm"]["scale"], random_weights(CLASSIFIER).params["norm/scale"]
    )


def test_a_head_for_classes_of_other_names_or_order_starts_afresh(folders, caplog):
    names = tuple(f"class {i}" for i in range(5))
    _, report = initialise(fresh(CLASSIFIER), folders / "finetuned", names)
    assert report.fresh == ()
    for others in (names[::-1], (*names[:4], "other")):
        params, report = initialise(fresh(CLASSIFIER), folders / "finetuned", others)
        assert report.fresh == ("head/bias", "head/kernel")
        assert "for other classes: head: class 0, class 1, class 2" in str(report)
        assert np.all(params["head"]["kernel"] == 1)


def test_a_probe_of_a_finetuned_encoder_keeps_its_own_final_norm(folders):
    probe = classifier.LinearProbe(CLASSIFIER.encoder, (1, 1, 2), 5, tubelet=TUBELET)
    clips = jax.ShapeDtypeStruct((1, 2, 8, 16, 3), np.float32)
    shapes = jax.eval_shape(probe.init, jax.random.key(0), clips)["params"]
    params, report = initialise(shapes, folders / "finetuned")
    assert report.fresh == ("encoder/norm/bias", "encoder/norm/scale", "heads/bias", "heads/kernel")
    assert isinstance(params["heads"]["kernel"], jax.ShapeDtypeStruct)
    assert isinstance(params["encoder"]["embed"]["kernel"], np.ndarray)
    _, report = initialise(shapes, folders / "pretrained")
    assert report.fresh == ("heads/bias", "heads/kernel")


def test_learned_positions_are_taken_from_the_nearest_of_another_grid(tmp_path):
    architecture = timesformer("timesformer_joint")
    r = np.random.default_rng(0)
    space, time = (r.random(shape).astype(np.float32) for shape in ((4, 4, 24), (4, 24)))
    params = random_weights(architecture).params
    params |= {"encoder/positions/space": space, "encoder/positions/time": time}
    write_run(tmp_path, params, model__backbone="timesformer_joint")
    own = flatten(fresh(architecture))
    own["encoder/positions/space"] = np.ones((8, 2, 24), np.float32)
    own["encoder/positions/time"] = np.ones((6, 24), np.float32)
    params, report = initialise(traverse_util.unflatten_dict(own, sep="/"), tmp_path)
    positions = params["encoder"]["positions"]
    rows, columns = [0, 0, 1, 1, 2, 2, 3, 3], [0, 2]
    np.testing.assert_array_equal(positions["space"], space[rows][:, columns])
    np.testing.assert_array_equal(positions["time"], time[[0, 0, 1, 2, 2, 3]])
    assert report.fresh == ()
    assert "for other clips: encoder/positions/space: (4, 4, 24) in the source" in str(report)


def test_other_positions_are_refused(folders):
    with pytest.raises(CheckpointError, match=r"model\.positions: sincos in the source"):
        initialise(fresh(CLASSIFIER), folders / "pretrained", positions="sincos_axes")


def test_files_that_do_not_say_their_heads_have_the_models(tmp_path):
    file = tmp_path / "model.safetensors"
    weights.write_original(file, random_weights(AUTOENCODER))
    params, _ = initialise(fresh(AUTOENCODER), file)
    assert_equal(flatten(params), random_weights(AUTOENCODER).params)


@pytest.mark.parametrize(
    ("part", "shape", "stack", "misfit"),
    [
        ("encoder", (24, 3, 3), False, "blocks/2/norm1/scale: absent in the source, (24,)"),
        ("encoder", (24, 1, 3), False, "blocks/1/norm1/scale: (24,) in the source, absent"),
        ("encoder", (48, 2, 3), False, "embed/kernel: (384, 24) in the source, (384, 48)"),
        ("encoder", (24, 2, 6), False, "attention/q_bias: (3, 8) in the source, (6, 4)"),
        ("encoder", (24, 3, 3), True, "norm1/scale: (2, 24) in the source, (3, 24)"),
        ("decoder", (16, 2, 2), False, "blocks/1/mlp/fc1/bias: absent in the source"),
    ],
)
def test_another_architecture_is_refused_with_every_tensor_that_does_not_fit(
    folders, part, shape, stack, misfit
):
    source = AUTOENCODER if part == "decoder" else CLASSIFIER
    params = fresh(dataclasses.replace(source, **{part: TransformerConfig(*shape)}))
    with pytest.raises(CheckpointError, match=re.escape(misfit)) as refusal:
        initialise(blocks.stack(params) if stack else params, folders / "pretrained")
    assert "config.init_from" in str(refusal.value)
    assert all(f"  {part}" in line for line in str(refusal.value).splitlines()[1:-1])
