import pathlib
import shutil
import subprocess
import sys

import fake_programs
import pytest

LAUNCH = pathlib.Path(__file__).resolve().parent.parent / "launch"


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


def test_what_python_compiles_is_kept(tmp_path):
    machine = fake_programs.Machine(tmp_path)
    ended = subprocess.run(
        ["bash", "-c", f"source {LAUNCH}/environment.sh && env"],
        env=machine.environment | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "GLIBC_TUNABLES=" in ended.stdout
    assert "PYTHONDONTWRITEBYTECODE" not in ended.stdout
