"""The commands and scripts of docs/own_dataset.md, held to the code."""

import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from mgm_jax import config as config_lib
from mgm_jax import predict
from mgm_jax.data.sources import CsvSource

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
TEXT = (REPOSITORY / "docs" / "own_dataset.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("command", blocks("bash"))
def test_the_flags_of_every_command_exist(command, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    arguments = shlex.split(command.replace("\\\n", " "))
    assert arguments[:2] == ["python", "-m"]
    if arguments[2] == "mgm_jax.main":
        config_lib.check_arguments(arguments[2:])
        assert any(argument.startswith("--config=") for argument in arguments)
    else:
        assert arguments[2] == "mgm_jax.predict"
        code = pathlib.Path(predict.__file__).read_text()
        flags = [argument[2:].split("=")[0] for argument in arguments if argument[:2] == "--"]
        assert all(f'("{flag}"' in code for flag in flags)


def test_flags_and_recipes_named_in_the_text_exist(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    flags = set(re.findall(r"--config\.[a-z_.]+[a-z_]", TEXT))
    assert len(flags) > 10
    config_lib.check_arguments(["main", "--config=configs/jhmdb_finetune.py", *sorted(flags)])
    recipes = set(re.findall(r"configs/[a-z0-9_]+\.py", TEXT))
    assert all(pathlib.Path(recipe).is_file() for recipe in recipes)


def test_the_script_lists_the_videos(video_folder, tmp_path):
    (tmp_path / "videos").symlink_to(video_folder)
    (script,) = (block for block in blocks("python") if "make_list" in block)
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    parts = {
        split: CsvSource(str(tmp_path / "videos.csv"), split, str(tmp_path / "videos"))
        for split in ("train", "test")
    }
    names = {
        split: {part[index].video_id for index in range(len(part))} for split, part in parts.items()
    }
    assert (len(names["train"]), len(names["test"])) == (8, 4)
    assert not names["train"] & names["test"]
    assert parts["train"].class_names == ("even", "odd")
