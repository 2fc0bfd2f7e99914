"""What a model takes over from another: all accounted for, nothing forced."""

import ast
import dataclasses
import re

import jax
import numpy as np
import pytest
from flax import traverse_util
from ml_collections.config_flags import config_path
from random_weights import (
    AUTOENCODER,
    CLASSIFIER,
    TUBELET,
    assert_equal,
    random_params,
    random_weights,
    timesformer,
    write_run,
)

from mgm_jax import base_config
from mgm_jax.convert import architecture as architecture_lib
from mgm_jax.convert import weights
from mgm_jax.convert.architecture import parameter_shapes
from mgm_jax.convert.init_from import initialise
from mgm_jax.errors import CheckpointError
from mgm_jax.models import classifier
from mgm_jax.models.layers import TransformerConfig


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A pretrained autoencoder and a finetuned classifier, in Hugging Face's folders."""
    root = tmp_path_factory.mktemp("models")
    for name, architecture in (("pretrained", AUTOENCODER), ("finetuned", CLASSIFIER)):
        weights.write_hugging_face(root / name, random_weights(architecture))
    return root


def as_typed(value):
    """A value as the command line reads it, where the shell has removed the quotes."""
    try:
        return ast.literal_eval(value.strip("'"))
    except ValueError:
        return value


def fresh(architecture):
    """A parameter tree of ones."""
    flat = {
        name: np.ones(shape, np.float32) for name, shape in parameter_shapes(architecture).items()
    }
    return traverse_util.unflatten_dict(flat, sep="/")


def recipe(**model):
    """A recipe whose clips are those of the models here, with other values of `config.model`."""
    config = base_config.pretrain()
    config.data.size = 16
    config.model.update({"tubelet": TUBELET} | model)
    return config


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


def test_the_same_model_is_taken_whole(folders):
    params, report = initialise(fresh(AUTOENCODER), folders / "pretrained")
    assert_equal(flatten(params), random_weights(AUTOENCODER).params)
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


def test_learned_positions_of_other_clips_are_refused(tmp_path):
    architecture = timesformer("timesformer_joint")
    params = random_weights(architecture).params
    params |= {"encoder/positions/space": np.ones((4, 4, 24), np.float32)}
    params |= {"encoder/positions/time": np.ones((4, 24), np.float32)}
    write_run(tmp_path, params, model__backbone="timesformer_joint")
    with pytest.raises(CheckpointError, match=r"positions/space: \(4, 4, 24\) in the source"):
        initialise(fresh(architecture), tmp_path)


def test_other_positions_are_refused(folders):
    with pytest.raises(CheckpointError, match=r"model\.positions: sincos in the source"):
        initialise(
            fresh(CLASSIFIER), folders / "pretrained", config=recipe(positions="sincos_axes")
        )


def test_another_tubelet_of_the_same_volume_is_refused(folders):
    with pytest.raises(CheckpointError, match=r"model\.tubelet: \(2, 8, 8\) in the source, \(8"):
        initialise(fresh(CLASSIFIER), folders / "pretrained", config=recipe(tubelet=(8, 4, 4)))


def test_flat_positions_of_frames_of_another_size_are_refused(folders, tmp_path, caplog):
    larger = recipe()
    larger.data.size = 32
    with pytest.raises(CheckpointError, match=r"data\.size: 16 in the source, 32 in") as refusal:
        initialise(fresh(CLASSIFIER), folders / "pretrained", config=larger)
    assert "--config.data.size=16 --config.data.host_crop_size=18" in str(refusal.value)
    initialise(fresh(CLASSIFIER), folders / "pretrained", config=recipe())
    assert "does not say" not in caplog.text
    weights.write_original(tmp_path / "model.safetensors", random_weights(CLASSIFIER))
    initialise(fresh(CLASSIFIER), tmp_path / "model.safetensors", config=larger)
    assert "does not say the size of its clips" in caplog.text
    # Positions by axis are those of the same places in smaller frames.
    encoder = dataclasses.replace(CLASSIFIER.encoder, positions="sincos_axes")
    by_axis = dataclasses.replace(CLASSIFIER, encoder=encoder)
    write_run(tmp_path, random_params(by_axis), "finetune", "abcde", model__positions="sincos_axes")
    larger.model.positions = "sincos_axes"
    initialise(fresh(by_axis), tmp_path, config=larger)


def test_a_file_of_a_model_of_plain_pixels_predicts_them_again(tmp_path):
    file = tmp_path / "model.safetensors"
    plain = dataclasses.replace(random_weights(AUTOENCODER), norm_pix_loss=False)
    weights.write_original(file, plain)
    config = recipe()
    config.norm_pix_loss = False
    params, _ = initialise(fresh(AUTOENCODER), file, config=config)
    for name, value in flatten(params).items():
        np.testing.assert_allclose(value, plain.params[name], rtol=1e-5, atol=1e-6)


def test_files_that_do_not_say_their_heads_have_the_models(tmp_path):
    file = tmp_path / "model.safetensors"
    weights.write_original(file, random_weights(AUTOENCODER))
    params, _ = initialise(fresh(AUTOENCODER), file)
    assert_equal(flatten(params), random_weights(AUTOENCODER).params)


@pytest.mark.parametrize(
    ("part", "shape", "misfit"),
    [
        ("encoder", (24, 3, 3), "blocks/2/norm1/scale: absent in the source, (24,)"),
        ("encoder", (24, 1, 3), "blocks/1/norm1/scale: (24,) in the source, absent"),
        ("encoder", (48, 2, 3), "embed/kernel: (384, 24) in the source, (384, 48)"),
        ("encoder", (24, 2, 6), "attention/q_bias: (3, 8) in the source, (6, 4)"),
        ("decoder", (16, 2, 2), "blocks/1/mlp/fc1/bias: absent in the source"),
    ],
)
def test_another_architecture_is_refused_with_every_tensor_that_does_not_fit(
    folders, part, shape, misfit
):
    source = AUTOENCODER if part == "decoder" else CLASSIFIER
    params = fresh(dataclasses.replace(source, **{part: TransformerConfig(*shape)}))
    with pytest.raises(CheckpointError, match=re.escape(misfit)) as refusal:
        initialise(params, folders / "pretrained")
    assert "config.init_from" in str(refusal.value)
    assert all(f"  {part}" in line for line in str(refusal.value).splitlines()[1:-1])
    # The flags that it names make a model that fits.
    config = base_config.pretrain()
    for name, value in re.findall(r"--config\.(\S+)=(\S+)", str(refusal.value)):
        config_path.set_value(name, config, as_typed(value))
    fitting = architecture_lib.from_config(config, 0)
    assert fitting.encoder == AUTOENCODER.encoder
    assert (fitting.decoder == AUTOENCODER.decoder) == (part == "decoder")
