import ast
import importlib.util
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import shrunk

from mgm_jax import command_line
from mgm_jax import config as config_lib
from mgm_jax.aot.check import check

ROOT = pathlib.Path(__file__).resolve().parent.parent
LAUNCH = ROOT / "launch"

# Devices of the machine that a command names; without any, one.
MACHINES = {
    "--gpus=1": 1,
    "gpu_single_host.sh": 8,
    "--nodes=4": 32,
    "v5litepod-64": 64,
    "--num_processes=2": 2,
}
REQUIREMENTS = {"jax_cuda13_plugin": "gpu-check", "libtpu": "tpu"}
# ViT-B takes 14 GiB for 64 clips with cuDNN's attention, of the 80 GB of a GPU.
CLIPS_OF_A_GPU = 256


def commands():
    """`(command, recipe, values, devices)` of docs/launching.md and of the recipes' heads."""
    for file in (ROOT / "docs" / "launching.md", *sorted((ROOT / "configs").glob("[!_]*.py"))):
        text = re.sub(r"\\\n\s*", "", file.read_text())
        for command in re.findall(r"[^`\n]*--config=configs/[^`\n]*", text):
            words = command.split()
            recipe = next(w for w in words if w.startswith("--config=")).partition("=")[2]
            values = [w.removeprefix("--config.") for w in words if w.startswith("--config.")]
            devices = next((n for word, n in MACHINES.items() if word in command), 1)
            yield pytest.param(command, recipe, values, devices, id=f"{recipe} on {devices}")


def config_of(recipe, values):
    command_line.check_arguments([f"--config={recipe}", *(f"--config.{v}" for v in values)])
    config = shrunk.get_config(recipe.removeprefix("configs/").replace(".py", ""))
    for name, _, value in (v.partition("=") for v in values):
        number = re.fullmatch(r"[\d.]+", value)
        config.update_from_flattened_dict({name: ast.literal_eval(value) if number else value})
    return config


@pytest.mark.parametrize(("command", "recipe", "values", "devices"), commands())
def test_every_command_suits_its_machine(command, recipe, values, devices, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = config_of(recipe, values)
    config_lib.check_values(config)
    assert config.batch_size % (devices * config.grad_accum_steps) == 0
    if "gpu" in command or "slurm" in command:
        assert config.batch_size == 512
        assert config.model.attention == "auto"
        assert config.batch_size // devices // config.grad_accum_steps <= CLIPS_OF_A_GPU


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "topology", "compiler"),
    [
        (1, "h100:1", "jax_cuda13_plugin"),
        (8, "h100:8", "jax_cuda13_plugin"),
        (32, "h100:4x8", "jax_cuda13_plugin"),
        (64, "v5e:8x8", "libtpu"),
    ],
)
def test_every_command_for_gpus_and_slices_fits_them(devices, topology, compiler, monkeypatch):
    if importlib.util.find_spec(compiler) is None:
        pytest.skip(f"no {compiler}; pip install -r requirements-{REQUIREMENTS[compiler]}.txt")
    monkeypatch.chdir(ROOT)
    ((_, recipe, values, _),) = (
        found.values
        for found in commands()
        if found.values[3] == devices and "launch/" in found.values[0]
    )
    found = check(config_of(recipe, values), topology)
    assert found.mesh.size == devices


def test_scripts_pass_shellcheck():
    beside = pathlib.Path(sys.executable).parent / "shellcheck"
    program = beside if beside.exists() else shutil.which("shellcheck")
    if program is None:
        pytest.skip("no shellcheck; pip install -r requirements-test.txt")
    checked = subprocess.run(
        [program, "--shell=bash", "--external-sources", *sorted(LAUNCH.glob("*.sh"))],
        capture_output=True,
        text=True,
        cwd=LAUNCH,
    )
    assert checked.returncode == 0, checked.stdout


def test_a_machine_without_a_new_enough_python_is_told_so(tmp_path):
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    ended = subprocess.run(
        ["bash", "-c", f"source {LAUNCH}/environment.sh"],
        env={"PATH": "/usr/bin:/bin", "PYTHON": str(old), "MGM_ENVIRONMENT": str(tmp_path / "env")},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert "no Python 3.11 or newer" in ended.stderr
    assert not (tmp_path / "env").exists()
