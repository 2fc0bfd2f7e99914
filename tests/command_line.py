"""Runs a command of the project as its users do."""

import pathlib
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]


def run(
    module: str, *arguments: str, python: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    """Runs `python -m module` with arguments in the repository's folder."""
    command = [python, "-m", module, *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
