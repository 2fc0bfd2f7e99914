"""Trained models in Python: from runs and from exported folders."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from random_weights import AUTOENCODER, CLASSIFIER, random_params, random_weights, write_run
from safetensors.numpy import load_file, save_file

from mgm_jax import load_classifier
from mgm_jax.convert import weights
from mgm_jax.errors import CheckpointError, ConfigError
from mgm_jax.io import read_arrays
from mgm_jax.predict import write_features

ONE = {"temporal_views": 1, "spatial_views": 1}
SHAPE = {"data__clip_frames": 4, "data__size": 16, "data__host_crop_size": 16}
CLASSES = tuple(f"class {i}" for i in range(5))


@pytest.fixture
def files(video_folder):
    return sorted(video_folder.glob("*/*.mp4"))[:3]


def test_a_run_and_its_export_find_the_same(tmp_path, files):
    run = tmp_path / "run"
    write_run(run, random_params(CLASSIFIER), "finetune", CLASSES, **SHAPE)
    exported = weights.read(tmp_path / "run")
    weights.write_hugging_face(tmp_path / "exported", exported)
    models = [load_classifier(tmp_path / name) for name in ("run", "exported")]
    assert [model.class_names for model in models] == [CLASSES, CLASSES]
    found = [model.predict(files, **ONE) for model in models]
    assert found[0].names == tuple(map(str, files))
    # The run computes as its config says, in bfloat16 or float32; the other in float32.
    np.testing.assert_allclose(found[0].probabilities, found[1].probabilities, atol=1e-4)
    assert np.ptp(found[0].probabilities) > 0.1
    vectors = [model.encode(files, **ONE).vectors for model in models]
    assert vectors[0].shape == (3, CLASSIFIER.encoder.dim)
    np.testing.assert_allclose(*vectors, rtol=1e-3, atol=1e-4)
    # By default, a run has the views of its evaluation, and an exported model one.
    assert models[0].predict(files[:1]).num_views.tolist() == [2]
    assert models[1].predict(files[:1]).num_views.tolist() == [1]
    checkpoint = load_classifier(run / "checkpoints" / "7").run
    assert (checkpoint.config, checkpoint.step) == (models[0].run.config, 7)
    for wrong, views in ((str(files[0]), {}), ([], {}), (files, {"spatial_views": 0})):
        with pytest.raises(ConfigError):
            models[0].predict(wrong, **views)


def test_a_pretrained_model_only_encodes(tmp_path, files):
    weights.write_hugging_face(tmp_path / "model", random_weights(AUTOENCODER))
    model = load_classifier(tmp_path / "model")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    found = model.encode([*files, broken])
    assert found.vectors.shape == (4, AUTOENCODER.encoder.dim)
    assert found.num_views.tolist() == [1, 1, 1, 0]
    assert not found.vectors[3].any()
    assert "broken.mp4" in found.errors[3]
    with pytest.raises(ConfigError, match=r"config\.task=pretrain does not classify"):
        model.predict(files)
    assert write_features(found, str(tmp_path / "out.npz")) == [str(broken)]
    stored = read_arrays(tmp_path / "out.npz")
    np.testing.assert_array_equal(stored["vectors"], found.vectors)
    assert stored["names"].tolist() == list(found.names)


def test_a_pretraining_run_encodes(tmp_path, files):
    write_run(tmp_path / "run", random_params(AUTOENCODER), **SHAPE)
    model = load_classifier(tmp_path / "run")
    assert model.encode(files).vectors.std() > 0


def test_an_encoder_alone_encodes_as_the_whole_model(tmp_path, files):
    weights.write_hugging_face(tmp_path / "whole", random_weights(AUTOENCODER))
    shutil.copytree(tmp_path / "whole", tmp_path / "encoder")
    file, prefix = tmp_path / "encoder" / "model.safetensors", "videomae."
    tensors = {n: value for n, value in load_file(file).items() if n.startswith(prefix)}
    save_file({name.removeprefix(prefix): value for name, value in tensors.items()}, file)
    whole, alone = (load_classifier(tmp_path / name) for name in ("whole", "encoder"))
    np.testing.assert_array_equal(alone.encode(files).vectors, whole.encode(files).vectors)


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="holds neither a run"):
        load_classifier(tmp_path)
    source = random_weights(CLASSIFIER)
    weights.write_original(tmp_path / "model.safetensors", source)
    with pytest.raises(CheckpointError, match="--encoder_heads"):
        load_classifier(tmp_path / "model.safetensors")


def test_importing_the_package_imports_no_jax():
    script = "import sys, mgm_jax; sys.exit('jax' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
