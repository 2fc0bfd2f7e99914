"""Programs that launch scripts call, replaced by ones that record their calls."""

import os
import pathlib
import shutil
import signal
import subprocess
import time

LAUNCH = pathlib.Path(__file__).resolve().parent.parent / "launch"

RECORD = 'printf "%s\\n" "$(basename "$0") $*" >> "$CALLS"\n'

# Ends as the first line of $ENDINGS says, and takes that line out: an exit code; more than 128 for
# the signal; "wait" until a SIGTERM, then 75; "lost" takes the TPU slice away after a moment.
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
    """A machine on whose PATH are fakes alone, beside the system's own programs.

    Attributes:
        folder: Its files.
        environment: Environment of its processes.
    """

    def __init__(self, folder: pathlib.Path):
        """Makes the machine, with an environment in which everything is installed."""
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
        """Puts a recording program on the PATH."""
        self._write(self.folder / "bin" / name, "#!/bin/bash\n" + RECORD + body)

    def training_ends(self, *endings: int | str) -> None:
        """Says how each run of mgm_jax.main ends."""
        (self.folder / "endings").write_text("".join(f"{ending}\n" for ending in endings))

    def start(self, script: str, *arguments: str) -> subprocess.Popen:
        """Starts a launch script, as the leader of a process group of its own."""
        return subprocess.Popen(
            ["bash", LAUNCH / script, *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )

    def launch(self, script: str, *arguments: str) -> tuple[int, str]:
        """Runs a launch script: its exit code and what it says."""
        process = self.start(script, *arguments)
        said, _ = process.communicate(timeout=180)
        return process.returncode, said

    def launch_and_signal(
        self, script: str, *arguments: str, number: int = signal.SIGTERM
    ) -> tuple[int, str]:
        """Runs a launch script and sends it a signal once training waits."""
        process = self.start(script, *arguments)
        self.wait_for("waiting")
        os.kill(process.pid, number)
        said, _ = process.communicate(timeout=180)
        return process.returncode, said

    def wait_for(self, call: str) -> None:
        """Waits until something has been called."""
        deadline = time.monotonic() + 30
        while not self.calls(call):
            assert time.monotonic() < deadline, f"no {call} among {self.calls()}"
            time.sleep(0.02)

    def calls(self, prefix: str = "") -> list[str]:
        """The recorded calls that begin with something."""
        return [line for line in self._calls.read_text().splitlines() if line.startswith(prefix)]

    @staticmethod
    def _write(path: pathlib.Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)
