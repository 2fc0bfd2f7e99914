"""The command, and runs made of other programs' models."""

import command_line
import jax
import pytest
from flax import traverse_util
from random_weights import assert_equal, random_params
from shrunk import recipe

from mgm_jax.convert import weights
from mgm_jax.convert.__main__ import _read_classes, convert
from mgm_jax.convert.architecture import Architecture
from mgm_jax.convert.weights import Weights
from mgm_jax.errors import CheckpointError, ConfigError
from mgm_jax.models.layers import TransformerConfig
from mgm_jax.train import train
from mgm_jax.training import runs

ENCODER, DECODER = TransformerConfig(32, 1, 2), TransformerConfig(16, 1, 2)
SHAPES = {"model__encoder": {"dim": 32, "depth": 1, "heads": 2}, "model__positions": "sincos"}
PRETRAINING = SHAPES | {
    "model__decoder": {"dim": 16, "depth": 1, "heads": 2},
    "norm_pix_loss": True,
}
AUTOENCODER = Architecture(ENCODER, (2, 8, 8), DECODER)
CLASSIFIER = Architecture(ENCODER, (2, 8, 8), num_classes=3, final_norm=False)


def hugging_face_folder(folder, architecture):
    classes = ("a", "b", "c") if architecture.num_classes else ()
    model = Weights(random_params(architecture), architecture, "random", 8, 32, classes)
    weights.write_hugging_face(folder, model)
    return folder


@pytest.mark.slow
def test_a_run_made_of_a_hugging_face_folder_is_trained_further(tmp_path, video_folder):
    source = hugging_face_folder(tmp_path / "model", AUTOENCODER)
    config = recipe("demo_pretrain", video_folder, **PRETRAINING)
    convert(source, tmp_path / "run", "run", config=config)
    run = runs.load_run(tmp_path / "run")
    assert (run.step, run.class_names) == (0, ())
    params = traverse_util.flatten_dict(jax.device_get(run.params), sep="/")
    assert_equal(params, random_params(AUTOENCODER))
    assert int(train(config, str(tmp_path / "run"), jax.devices()[:1]).step) == config.num_steps
    assert runs.load_run(tmp_path / "run").step == config.num_steps


def test_a_run_is_made_of_the_whole_model_only(tmp_path):
    source = hugging_face_folder(tmp_path / "model", CLASSIFIER)
    config = recipe("demo_pretrain", tmp_path, **PRETRAINING)
    with pytest.raises(ConfigError, match=r"\(classifier\) is no autoencoder"):
        convert(source, tmp_path / "run", "run", config=config)
    assert not (tmp_path / "run").exists()


def test_a_run_has_the_targets_of_its_source(tmp_path, caplog):
    source = hugging_face_folder(tmp_path / "model", AUTOENCODER)
    config = recipe("demo_pretrain", tmp_path, **PRETRAINING | {"norm_pix_loss": False})
    config.data.size = 64
    with pytest.raises(ConfigError, match=r"was trained with norm_pix_loss=True"):
        convert(source, tmp_path / "run", "run", config=config)
    assert "config.data.size: 32 in Hugging Face's" in caplog.text
    assert not (tmp_path / "run").exists()


def test_heads_on_the_command_line_are_those_of_the_recipe(tmp_path):
    file = tmp_path / "model.safetensors"
    weights.write_original(file, Weights(random_params(CLASSIFIER), CLASSIFIER, "random"))
    config = recipe("demo_finetune", tmp_path, **SHAPES)
    with pytest.raises(ConfigError, match=r"--encoder_heads=4, but .* has 2; set --config\.model"):
        convert(file, tmp_path / "run", "run", config=config, heads={"encoder": 4})


def test_a_folder_of_another_normalisation_is_refused(tmp_path):
    source = hugging_face_folder(tmp_path / "model", CLASSIFIER)
    weights.read(source)
    file = source / "preprocessor_config.json"
    file.write_text(file.read_text().replace("0.485", "0.5"))
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json normalises .*\[0\.5, 0"):
        weights.read(source)


@pytest.mark.parametrize(
    "content",
    ['{"zumba": 2, "archery": 0, "bowling": 1}', '"abc"', '["a", "b", "a"]', "[1, 2]", "a"],
)
def test_a_file_that_is_no_list_of_classes_is_refused(content, tmp_path):
    (tmp_path / "classes.json").write_text(content)
    with pytest.raises(ConfigError, match="is not a JSON list of names, in the order"):
        _read_classes(str(tmp_path / "classes.json"))


@pytest.mark.slow
def test_the_command_converts_there_and_back(tmp_path):
    source = hugging_face_folder(tmp_path / "model", CLASSIFIER)
    file = tmp_path / "model.safetensors"
    arguments = (f"--source={source}", "--to=original", f"--out={file}")
    done = command_line.run("mgm_jax.convert", *arguments)
    assert done.returncode == 0, done.stderr
    assert "classifier, encoder 32/1/2, 3 classes" in done.stderr
    with pytest.raises(CheckpointError, match="--to=run"):
        convert(file, tmp_path / "back", "hugging_face", heads={"encoder": 2})
    config = recipe("demo_finetune", tmp_path, **SHAPES)
    more = {"config": config, "class_names": ("x", "y", "z"), "heads": {"encoder": 2}}
    convert(file, tmp_path / "run", "run", **more)
    assert runs.load_run(tmp_path / "run").class_names == ("x", "y", "z")
    convert(tmp_path / "run", tmp_path / "back", "hugging_face")
    back = weights.read(tmp_path / "back")
    assert_equal(back.params, random_params(CLASSIFIER))
    assert back.class_names == ("x", "y", "z")
    with pytest.raises(ConfigError, match=r"model\.safetensors exists"):
        convert(source, file, "original")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"to": "run"}, "--config"),
        ({"to": "original", "class_names": ("a",)}, "1 class names"),
        ({"to": "original", "class_names": ("a", "b", "c")}, "--classes has no effect"),
        ({"to": "original", "heads": {"encoder": 4}}, "encoder_heads=4: .* 2 heads in its encoder"),
        ({"to": "original", "heads": {"decoder": 2}}, "decoder_heads=2: .* has no decoder"),
    ],
)
def test_arguments_that_do_not_fit_together_are_refused(tmp_path, arguments, message):
    source = hugging_face_folder(tmp_path / "model", CLASSIFIER)
    with pytest.raises(ConfigError, match=message):
        convert(source, tmp_path / "out.pth", **arguments)
