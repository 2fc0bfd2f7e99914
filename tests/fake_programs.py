"""Runs launch scripts with fake programs that record their calls."""

import pathlib
import shutil
import subprocess
import time

LAUNCH = pathlib.Path(__file__).resolve().parent.parent / "launch"

RECORD = 'printf "%s\\n" "$(basename "$0") $*" >> "$CALLS"\n'

# A fake python. Training ends as the first line of $ENDINGS says and removes that line: an exit
# code (above 128: a signal), "wait" (for SIGTERM, then 75) or "lost" (the TPU slice is preempted).
PYTHON = (
    "#!/bin/bash\n"
    + RECORD
    + """
case $1$2 in
  -mmgm_jax.main)
    ending=$(head -n 1 "$ENDINGS")
    sed -i 1d "$ENDINGS"
    echo "training"
    case $ending in
      wait) trap 'echo saved; exit 75' TERM; echo waiting >> "$CALLS"
            while :; do sleep 0.05; done ;;
      lost) sleep 1; echo PREEMPTED > "$SLICE"; exit 143 ;;
    esac
    [ "$ending" -le 128 ] || kill -$((ending - 128)) $$
    exit "$ending" ;;
  -cimport*) exit "${JAX_FAILS:-0}" ;;
esac
"""
)


class Machine:
    """A machine with fake programs and those of the system on its PATH; everything is installed."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self._calls = folder / "calls"
        bin_folder, venv = folder / "bin", folder / "venv"
        for part in (bin_folder, venv / "bin", folder / "home"):
            part.mkdir(parents=True)
        self._write(venv / "bin" / "python", PYTHON)
        shutil.copy(LAUNCH.parent / "requirements.txt", venv / ".installed-requirements.txt")
        self._calls.touch()
        self.environment = {
            "PATH": f"{bin_folder}:/usr/bin:/bin",
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder),
            "CALLS": str(self._calls),
            "ENDINGS": str(folder / "endings"),
            "SLICE": str(folder / "slice"),
            "MGM_ENVIRONMENT": str(venv),
        }

    def add(self, name: str, body: str = "") -> None:
        """Adds a program that records its calls and then runs `body`."""
        self._write(self.folder / "bin" / name, "#!/bin/bash\n" + RECORD + body)

    def training_ends(self, *endings: int | str) -> None:
        """Sets how each run of mgm_jax.main ends."""
        (self.folder / "endings").write_text("".join(f"{ending}\n" for ending in endings))

    def start(self, script: str, *arguments: str) -> subprocess.Popen:
        """Starts a launch script in a process group of its own."""
        return subprocess.Popen(
            ["bash", LAUNCH / script, *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )

    def launch(self, script: str, *arguments: str) -> tuple[int, str]:
        """Runs a launch script; returns its exit code and output."""
        process = self.start(script, *arguments)
        said, _ = process.communicate(timeout=180)
        return process.returncode, said

    def wait_for(self, call: str) -> None:
        """Waits until a call with this prefix is recorded."""
        deadline = time.monotonic() + 30
        while not self.calls(call):
            assert time.monotonic() < deadline, f"no {call} among {self.calls()}"
            time.sleep(0.02)

    def calls(self, prefix: str = "") -> list[str]:
        """The recorded calls with this prefix."""
        return [line for line in self._calls.read_text().splitlines() if line.startswith(prefix)]

    @staticmethod
    def _write(path: pathlib.Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)
