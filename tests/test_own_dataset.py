"""Runs the commands of docs/own_dataset.md as they are printed."""

import os
import pathlib
import re
import subprocess
import sys

import pytest
import quick_compilation

from mgm_jax import command_line

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
GUIDE = (REPOSITORY / "docs" / "own_dataset.md").read_text()
SMALLER = (
    " --config.num_steps=2 --config.warmup_steps=1 --config.batch_size=4"
    " --config.model.encoder.depth=1 --config.data.size=48 --config.data.host_crop_size=64"
    " --config.data.num_workers=0"
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


@pytest.mark.slow
def test_every_command_works_as_printed(video_folder, tmp_path):
    (tmp_path / "configs").symlink_to(REPOSITORY / "configs")
    (tmp_path / "videos").symlink_to(video_folder)
    (tmp_path / "more_videos").symlink_to(video_folder / "odd")
    (tmp_path / "new.mp4").symlink_to(video_folder / "even" / "video_00.mp4")
    environment = os.environ | {
        "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "HOME": str(tmp_path),
        "XLA_FLAGS": quick_compilation.XLA_FLAGS,
    }
    for command in blocks("bash"):
        extra = SMALLER if "mgm_jax.main" in command else ""
        if "small_pretrain" in command:
            extra += " --config.pictures_every=0 --config.model.decoder.depth=1"
        ended = subprocess.run(
            ["bash", "-c", command.rstrip() + extra],
            cwd=tmp_path,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert ended.returncode == 0, command + ended.stderr
    results = tmp_path / "runs" / "my_finetune"
    for name in re.findall(r"`([a-z_]+\.[a-z]+)`", GUIDE.split("| file |")[1].split("\n\n")[0]):
        assert (results / name).is_file(), name
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 1 + 1 + 6


def test_every_flag_of_the_settings_exists(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    flags = sorted(set(re.findall(r"--config\.[a-z_.]+[a-z_]", GUIDE)))
    recipes = set(re.findall(r"configs/[a-z0-9_]+\.py", GUIDE))
    (finetune,) = (recipe for recipe in recipes if recipe.endswith("small_finetune.py"))
    command_line.check_arguments(["main", f"--config={finetune}", *flags])
    assert all(pathlib.Path(recipe).is_file() for recipe in recipes)
