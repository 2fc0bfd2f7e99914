"""The lines of an exported folder's model card, in transformers, on real clips."""

import dataclasses
import itertools
import json
import re

import av
import numpy as np
import pytest
from encoded import encode
from random_weights import random_params

from mgm_jax import load_classifier
from mgm_jax.convert import weights
from mgm_jax.convert.architecture import Architecture
from mgm_jax.convert.weights import Weights
from mgm_jax.models.layers import TransformerConfig

pytestmark = pytest.mark.slow
pytest.importorskip("torch", reason="transformers needs it")
transformers = pytest.importorskip("transformers", reason="its pipeline reads the folder")

FRAMES, SIZE = 8, 64


@pytest.fixture
def clips(real_videos, tmp_path):
    """The first frames of real videos: enough for a clip of stride 2, and fewer in two ways."""
    files = []
    for number, video in enumerate(sorted((real_videos / "jhmdb").rglob("*.*"))[::40]):
        length = FRAMES + (FRAMES + 3, 3, -3)[number % 3]
        with av.open(str(video)) as container:
            frames = list(itertools.islice(container.decode(video=0), length))
        if len(frames) == length:
            files.append(tmp_path / f"{number}.mp4")
            files[-1].write_bytes(encode(frames, options={"qp": "0"}))
    return files[:8]


def tell_apart(params, folder, clips):
    """Gives random parameters a head that has a class for each clip, by its features."""
    features = load_classifier(folder).encode(clips).vectors
    features = (features - features.mean(1, keepdims=True)) / features.std(1, keepdims=True)
    centre = features.mean(0)
    kernel = (features - centre).T
    kernel *= 10 / (kernel**2).sum(0).mean()
    norm = {"norm/scale": np.ones_like(centre), "norm/bias": np.zeros_like(centre)}
    return params | norm | {"head/kernel": kernel, "head/bias": -centre @ kernel}


def run_card(folder, clip):
    """Runs the lines of the model card; returns the probabilities."""
    (lines,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    variables = {"FOLDER": str(folder)}
    exec(lines.replace("a.mp4", str(clip)), variables)
    return variables["probabilities"].detach().numpy()[0]


@pytest.mark.parametrize("sampling", ["dense", "segments"])
def test_the_model_card_classifies_as_predict_does(sampling, clips, tmp_path):
    names = tuple(f"class {i}" for i in range(len(clips)))
    encoder = TransformerConfig(48, 2, 4)
    architecture = Architecture(encoder, (2, 16, 16), num_classes=len(clips), final_norm=False)
    params = random_params(architecture)
    model = Weights(
        params, architecture, "random", FRAMES, SIZE, names, stride=2, sampling=sampling
    )
    weights.write_hugging_face(tmp_path / "random", model)
    model = dataclasses.replace(model, params=tell_apart(model.params, tmp_path / "random", clips))
    folder = tmp_path / "exported"
    weights.write_hugging_face(folder, model)
    found = load_classifier(folder).predict(clips)
    assert found.predicted_classes.tolist() == list(range(len(clips)))
    for clip, ours in zip(clips, found.probabilities, strict=True):
        theirs = run_card(folder, clip)
        assert theirs.argmax() == ours.argmax()
        np.testing.assert_allclose(theirs, ours, atol=0.1)  # It resizes otherwise.


def test_a_folder_says_how_to_feed_the_model(tmp_path):
    architecture = Architecture(TransformerConfig(24, 1, 3), (2, 8, 8), num_classes=2)
    names = ("jump", "run")
    training = {"Data": "9 videos.", "Accuracy": "Top-1 50.00 % of 2 videos."}
    source = Weights(random_params(architecture), architecture, "random", 8, 32, names)
    source = dataclasses.replace(source, stride=4, training=training)
    weights.write_hugging_face(tmp_path, source)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["frame_sampling_rate"], config["num_frames"], config["image_size"]) == (4, 8, 32)
    assert (weights.read(tmp_path).stride, weights.read(tmp_path).sampling) == (4, "dense")
    card = (tmp_path / "README.md").read_text()
    for text in ("8 frames, 4 frames apart", "32x32", "jump, run", "frames[::4]"):
        assert text in card
    assert all(f"## {title}\n\n{text}\n" in card for title, text in training.items())
