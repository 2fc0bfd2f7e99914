"""The command line: recipes by name, what is misspelt, help; from folders of other projects."""

import os
import subprocess
import sys

import command_line as commands
import pytest
import shrunk

from mgm_jax import command_line, config_help, recipes
from mgm_jax.errors import ConfigError

OWN = "from mgm_jax import base_config\n\ndef get_config():\n    return base_config.pretrain()\n"


def test_a_name_is_that_of_a_recipe_of_this_project_wherever_one_is(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mine.py").write_text(OWN)
    (tmp_path / "demo_pretrain.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    assert recipes.names() == shrunk.RECIPES
    ours = str(shrunk.CONFIGS / "ssv2_pretrain.py")
    assert recipes.find("ssv2_pretrain") == recipes.find("ssv2_pretrain.py") == ours
    assert recipes.find("ssv2_pretrain:mask=smm") == f"{ours}:mask=smm"
    assert recipes.load("ssv2_pretrain:mask=smm").masking.strategy == "smm"
    assert recipes.find("configs/mine.py") == "configs/mine.py"
    assert recipes.find("demo_pretrain.py") == "demo_pretrain.py"  # A file that is there.
    with pytest.raises(ConfigError, match=r"did you mean --config=ssv2_pretrain\?"):
        recipes.find("configs/ssv2_pretrain.py")


@pytest.mark.parametrize(
    ("recipe", "hint"),
    [
        ("demo_pretrian", r"did you mean --config=demo_pretrain\?"),
        ("configs/demo_pretrian.py", r"did you mean --config=configs/demo_pretrain\.py\?"),
        ("imagenet", "there are ava_finetune, demo_detect, "),
        ("mgm_jax/errors.py", "no function get_config"),
        ("ssv2_pretrain:msk=smm", r"no argument 'msk'; did you mean mask\?"),
        ("ssv2_pretrain:stride=4", "no argument 'stride'; it has mask, ratio, "),
    ],
)
def test_a_misspelt_recipe_is_refused_with_the_near_one(recipe, hint, monkeypatch):
    monkeypatch.chdir(commands.REPOSITORY)
    with pytest.raises(ConfigError, match=f"^--config={recipe}: .*{hint}"):
        recipes.load(recipe)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("data.pth=x", "data.path"),
        ("batchsize=4", "batch_size"),
        ("stride=2", "data.stride"),
        ("dta.path=3", "data.path"),
        ("mask_ratio=0.5", "masking.ratio"),
        ("masking.ratoi=0.5", "masking.ratio"),
        ("base_lr=1", "optimizer.base_lr"),
    ],
)
def test_a_misspelt_value_is_refused_with_the_near_one(typed, meant):
    typed = f"--config.{typed}"
    with pytest.raises(ConfigError, match=rf"did you mean --config\.{meant}\?$"):
        command_line.check_arguments(["--config=demo_pretrain", "--workdir=unused", typed])
    for wrong in ("--config.xyzzy=1", "--noconfig.xyzzy"):
        with pytest.raises(ConfigError, match="--help lists them"):
            command_line.check_arguments(["--config=demo_pretrain", wrong])


@pytest.mark.parametrize(
    ("recipe", "flags", "named"),
    [
        ("small_pretrain", ["epochs=50"], r"num_steps .*small_pretrain has 1500"),
        ("small_pretrain", ["warmup_epochs=5"], "warmup_steps"),
        ("ssv2_pretrain", ["epochs=50", "num_steps=10"], "num_steps"),
        ("ssv2_pretrain", ["epochs=50"], None),
    ],
)
def test_epochs_beside_steps_are_refused(recipe, flags, named):
    arguments = [f"--config={recipe}", *(f"--config.{flag}" for flag in flags)]
    if named is None:
        command_line.check_arguments(arguments)
    else:
        with pytest.raises(ConfigError, match=rf"no effect beside config\.{named}"):
            command_line.check_arguments(arguments)


def test_a_size_is_refused_where_the_recipe_sets_the_encoders_shape():
    for recipe in ("small_finetune", "demo_pretrain:target=normalised"):
        with pytest.raises(ConfigError, match=r"no effect .*encoder\.dim=128.* give those"):
            command_line.check_arguments([f"--config={recipe}", "--config.model.size=B"])
    command_line.check_arguments(["--config=ssv2_pretrain", "--config.model.size=L"])


def test_the_recipe_may_follow_its_flag_in_a_word_of_its_own():
    file = shrunk.CONFIGS / "demo_pretrain.py"
    for words in (["--config", "demo_pretrain"], ["-config=demo_pretrain"]):
        assert command_line.check_arguments(words) == [f"--config={file}"]


def test_files_that_look_like_flags_are_left_alone_after_two_dashes():
    words = ["-which=last", "--", "-x.mp4"]
    assert command_line.check_arguments(words) == ["--which=last", "--", "-x.mp4"]


def test_a_recipe_without_argument_takes_none(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    with pytest.raises(ConfigError, match="this recipe takes no argument"):
        recipes.load(f"{tmp_path}/mine.py:mask=smm")


@pytest.mark.parametrize("recipe", shrunk.RECIPES)
def test_help_describes_the_values_of_every_recipe(recipe):
    text = config_help.describe(shrunk.get_config(recipe))
    assert "--config.batch_size=" in text
    assert "Videos per step over all devices and hosts." in text
    holdout = config_help.comments(shrunk.get_config(recipe).task)["eval.holdout"]
    assert ("finetuning would hold out" in holdout) == ("pretrain" in recipe)
    assert "Frames, pixels, pixels." in text


@pytest.mark.slow
def test_commands_help_and_refuse_without_a_traceback():
    without = commands.run("mgm_jax.main")
    assert without.returncode == 1
    assert without.stdout == ""
    assert len(without.stderr.strip().splitlines()) <= 10
    assert "python -m mgm_jax.main --config=RECIPE --workdir=DIR" in without.stderr
    asked = commands.run("mgm_jax.main", "--help")
    assert asked.returncode == 0
    assert all(f"  {name} " in asked.stdout for name in shrunk.RECIPES)
    reading, writing = os.pipe()
    os.close(reading)  # As after `--help | head -1`.
    command = [sys.executable, "-m", "mgm_jax.main", "--help"]
    cut = subprocess.run(command, cwd=commands.REPOSITORY, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert cut.stderr == b""
    values = commands.run("mgm_jax.main", "--config=ssv2_pretrain", "--help").stdout
    assert "--config.masking.ratio=  float" in values
    assert "Fraction of masked tokens" in values
    empty = commands.run("mgm_jax.main", "--config=demo_pretrain", "--workdir=")
    assert "error: --workdir is empty" in empty.stderr
    refused = {
        "mgm_jax.main": ["--config=demo_pretrain", "--workdir=x"],
        "mgm_jax.visualize": ["--workdir=x"],
        "mgm_jax.measure": ["--config=demo_pretrain", "--out=x"],
    }
    for module, flags in refused.items():
        done = commands.run(module, *flags, "config.batch_size=4")
        assert done.returncode == 1, module
        assert done.stderr.startswith("error: config.batch_size=4: not a flag; ")


@pytest.mark.slow
def test_recipes_are_found_from_the_folder_of_another_project(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "__init__.py").touch()
    (tmp_path / "configs" / "mine.py").write_text(OWN)
    environment = os.environ | {"PYTHONPATH": str(commands.REPOSITORY), "JAX_PLATFORMS": ""}
    for recipe, path in (("ssv2_pretrain:epochs=200", ""), ("configs/mine.py", "nowhere")):
        flags = [f"--config={recipe}", "--workdir=run", f"--config.data.path={path}"]
        command = [sys.executable, "-m", "mgm_jax.main", *flags]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 1
        assert "error: config.data.path" in done.stderr
        assert "Unable to initialize backend" not in done.stderr


def test_the_version_has_one_source():
    import mgm_jax

    assert (
        f"\nversion: {mgm_jax.__version__}\n" in (commands.REPOSITORY / "CITATION.cff").read_text()
    )
