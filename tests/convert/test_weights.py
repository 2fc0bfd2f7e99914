"""Models in runs, in Hugging Face's folders and in the original's files, read and written."""

import argparse
import dataclasses
import json
import sys

import numpy as np
import pytest
from random_weights import (
    AUTOENCODER,
    CLASSIFIER,
    HEADS,
    assert_equal,
    random_params,
    random_weights,
    timesformer,
    write_run,
)

from mgm_jax.bounds import CHOICES
from mgm_jax.convert import layouts, weights
from mgm_jax.convert.architecture import Architecture
from mgm_jax.errors import CheckpointError
from mgm_jax.models.layers import TransformerConfig

BOTH = pytest.mark.parametrize("architecture", [AUTOENCODER, CLASSIFIER])


@BOTH
def test_a_runs_parameters_are_read_without_its_optimizer(tmp_path, architecture):
    params = random_params(architecture)
    classes = tuple("abcde") if architecture.num_classes else ()
    task = "finetune" if classes else "pretrain"
    config = write_run(tmp_path, params, task, classes)
    read = weights.read(tmp_path)
    assert_equal(read.params, params)
    assert read.architecture == architecture
    assert (read.frames, read.size) == (config.data.clip_frames, config.data.size)
    assert read.class_names == classes
    assert read.norm_pix_loss == (task == "finetune")  # The demo predicts plain pixels.
    assert read.origin.endswith("step 7")


@pytest.mark.parametrize("backbone", CHOICES["model.backbone"])
def test_only_runs_of_a_vit_are_exported(tmp_path, backbone):
    architecture = timesformer(backbone)
    params = random_params(architecture)
    tables = {"space": np.ones((4, 4, 24), np.float32), "time": np.ones((4, 24), np.float32)}
    if backbone != "vit":
        params |= {f"encoder/positions/{name}": table for name, table in tables.items()}
    write_run(tmp_path, params, model__backbone=backbone)
    found = weights.read(tmp_path)
    assert found.architecture == architecture
    assert_equal(found.params, params)
    if backbone == "vit":
        weights.write_original(tmp_path / "model.safetensors", found)
    else:
        with pytest.raises(CheckpointError, match=backbone):
            weights.write_original(tmp_path / "model.safetensors", found)


def test_positions_that_videomae_does_not_have_are_not_exported(tmp_path):
    encoder = dataclasses.replace(AUTOENCODER.encoder, positions="sincos_axes")
    source = random_weights(dataclasses.replace(AUTOENCODER, encoder=encoder))
    with pytest.raises(CheckpointError, match="positions sincos_axes"):
        weights.write_hugging_face(tmp_path / "model", source)


@BOTH
def test_a_hugging_face_folder_comes_back_bit_exact(tmp_path, architecture):
    written = random_weights(architecture)
    weights.write_hugging_face(tmp_path / "model", written)
    read = weights.read(tmp_path / "model")
    assert_equal(read.params, written.params)
    assert read.architecture == architecture
    assert (read.frames, read.size, read.class_names) == (4, 16, written.class_names)


def test_a_model_of_plain_pixels_comes_back(tmp_path):
    """`tests/models/test_parity.py` compares what it predicts in transformers."""
    written = dataclasses.replace(random_weights(AUTOENCODER), norm_pix_loss=False)
    weights.write_hugging_face(tmp_path / "model", written)
    read = weights.read(tmp_path / "model")
    assert not read.norm_pix_loss
    for name, value in written.params.items():
        np.testing.assert_allclose(read.params[name], value, rtol=1e-5, atol=1e-6)


@BOTH
def test_another_divisor_of_the_target_than_transformers_has_is_said(
    tmp_path, architecture, caplog
):
    params = random_params(architecture)
    classes = tuple("abcde") if architecture.num_classes else ()
    run, task = tmp_path / "run", "finetune" if classes else "pretrain"
    write_run(run, params, task, classes, norm_pix_loss=True, norm_pix_eps=0.02)
    weights.write_hugging_face(tmp_path / "model", weights.read(run))
    assert ("norm_pix_eps=0.02" in caplog.text) == (task == "pretrain")


@pytest.mark.slow
@BOTH
def test_transformers_loads_what_is_written_and_writes_what_is_read(tmp_path, architecture):
    """`tests/models/test_parity.py` compares what both compute."""
    pytest.importorskip("torch", reason="transformers needs it")
    transformers = pytest.importorskip("transformers", reason="loading as users do needs it")
    written = random_weights(architecture)
    weights.write_hugging_face(tmp_path / "ours", written)
    config = transformers.AutoConfig.from_pretrained(tmp_path / "ours")
    model, loading = getattr(transformers, config.architectures[0]).from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not any(loading.values()), loading
    if architecture is CLASSIFIER:
        assert tuple(config.id2label.values()) == written.class_names
    model.save_pretrained(tmp_path / "theirs")
    read = weights.read(tmp_path / "theirs")
    assert_equal(read.params, written.params)
    assert read.architecture == architecture
    assert (read.frames, read.size) == (4, 16)


@BOTH
def test_the_originals_names_in_a_safetensors_file_need_no_torch(
    tmp_path, architecture, monkeypatch
):
    monkeypatch.setitem(sys.modules, "torch", None)
    written, file = random_weights(architecture), tmp_path / "model.safetensors"
    weights.write_original(file, written)
    read = weights.read(file, HEADS)
    assert_equal(read.params, written.params)
    assert read.architecture == architecture
    assert (read.frames, read.size, read.class_names) == (None, None, ())
    with pytest.raises(CheckpointError, match=r"pip install torch, or use a \.safetensors"):
        weights.write_original(tmp_path / "model.pth", written)
    (tmp_path / "model.pth").write_bytes(b"")
    with pytest.raises(CheckpointError, match="pip install torch"):
        weights.read(tmp_path / "model.pth")


@pytest.mark.parametrize("wrapped", ["model", "module", None])
def test_checkpoints_of_pytorch(tmp_path, torch, wrapped):
    written, file = random_weights(AUTOENCODER), tmp_path / "ours.pth"
    weights.write_original(file, written)
    assert list(torch.load(file, weights_only=True)) == ["model"]
    assert_equal(weights.read(file, HEADS).params, written.params)

    # As the original leaves them.
    params = random_params(CLASSIFIER)
    state = layouts.to_state(params, CLASSIFIER, "original", "random")
    state = {name: torch.from_numpy(value).bfloat16() for name, value in state.items()}
    content = {wrapped: state, "epoch": 3, "args": argparse.Namespace(lr=0.1)} if wrapped else state
    torch.save(content, tmp_path / "checkpoint.pth")
    read = weights.read(tmp_path / "checkpoint.pth", HEADS)
    for name, value in params.items():
        np.testing.assert_allclose(read.params[name], value, rtol=2**-8)


SMALL = Architecture(TransformerConfig(384, 1, 16), (2, 16, 16), num_classes=2, final_norm=False)


@pytest.mark.parametrize(
    ("mark", "heads", "expected"),
    [(False, {}, 6), (False, {"encoder": 16}, 16), (True, {}, 16), (True, {"encoder": 6}, 16)],
)
def test_sixteen_heads_of_videomae_small_are_six(tmp_path, caplog, mark, heads, expected):
    written = dataclasses.replace(random_weights(SMALL), architecture=SMALL)
    weights.write_hugging_face(tmp_path, written)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    if not mark:
        del config["exported_by"]
    file.write_text(json.dumps(config))
    read = weights.read(tmp_path, heads)
    assert read.architecture.encoder.heads == expected
    np.testing.assert_array_equal(
        read.params["encoder/blocks/0/attention/q_bias"].ravel(),
        written.params["encoder/blocks/0/attention/q_bias"].ravel(),
    )
