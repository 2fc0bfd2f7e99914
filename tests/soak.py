"""Kills a tiny pretraining run at random moments, and compares it with one that was left alone.

    python -m tests.soak --kills=100

The run is the real program on real encoded videos, with a checkpoint every few steps. It is
started again and again, and ended by SIGKILL while it starts, while it trains, or in the middle of
a save; the program alone or its data workers with it. Now and then a file of the newest checkpoint
is damaged as well. Each start must resume from the newest checkpoint that was complete and
undamaged, no process may outlive its program, and in the end every loss and every number of the
state must be those of an uninterrupted run, bit for bit.
"""

import argparse
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import jax

from mgm_jax.training import digests, integrity
from mgm_jax.training.checkpoints import Checkpoints
from mgm_jax.training.runs import read_config
from mgm_jax.training.sharding import make_mesh
from mgm_jax.training.state import abstract_state
from mgm_jax.training.tasks import make_task
from tests import rendered
from tests.quick_compilation import XLA_FLAGS
from tests.shrunk import assert_same_state, logged

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
CHECKPOINT_EVERY = 4
MOMENTS = ("starting", "training", "saving")

_PATIENCE = 300.0  # Seconds after which a wait has failed.
_RECIPE = """
from tests import shrunk

def get_config():
    return shrunk.recipe(
        "demo_pretrain", {videos!r}, num_steps=100_000, batch_size=4, checkpoint_every={every},
        data__clip_frames=4, data__host_crop_size=48,
        model__encoder__dim=16, model__encoder__depth=1, model__encoder__heads=2,
        model__decoder__dim=16, model__decoder__heads=2,
    )
"""


class Soak:
    """One run that is killed again and again."""

    def __init__(self, folder: pathlib.Path, seed: int):
        """Writes the videos and the recipe into an empty folder."""
        self._folder, self._workdir = folder, folder / "killed"
        self._checkpoints = self._workdir / "checkpoints"
        self._random = random.Random(seed)
        self._recipe, self._log = folder / "recipe.py", folder / "program.log"
        videos = rendered.write_folder(folder / "videos", num_videos=6, frames=12)
        self._recipe.write_text(_RECIPE.format(videos=str(videos), every=CHECKPOINT_EVERY))

    def kill(self, moment: str, *, group: bool, workers: int) -> None:
        """Starts the run, kills it at one of `MOMENTS`, and checks where it resumed.

        With `group`, the data workers are killed too; otherwise they must end by themselves.
        """
        expected, began = self._newest_intact(), time.time()
        program = self._start(self._workdir, f"--config.data.num_workers={workers}")
        try:
            self._wait_for(moment, began)
        finally:
            (os.killpg if group else os.kill)(program.pid, signal.SIGKILL)
        assert program.wait() == -signal.SIGKILL, self._said()
        self._poll(lambda: not _is_alive(program.pid))
        resumed = re.search(r"resuming from the checkpoint of step (\d+)", self._said())
        if resumed or self._has_stepped():
            assert expected == (int(resumed[1]) if resumed else 0), self._said()

    def damage(self) -> None:
        """Damages a file of the newest checkpoint, if there is an older one to resume from."""
        intact = self._intact()
        if len(intact) < 2:
            return
        checkpoint = self._checkpoints / str(intact[0])
        listed = (checkpoint / digests.FILE).read_text().splitlines()
        file = checkpoint / self._random.choice(listed).split("  ", 1)[1]
        data = bytearray(file.read_bytes())
        how = self._random.choice(("cut short", "deleted", "one bit flipped"))
        if how == "deleted":
            file.unlink()
        elif how == "one bit flipped":
            data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
            file.write_bytes(data)
        else:
            file.write_bytes(data[: self._random.randrange(len(data))])

    def compare(self) -> int:
        """Lets the run train a little further, and compares it with an uninterrupted one.

        Returns:
            The number of steps.
        """
        stop = self._newest_intact() + 2 * CHECKPOINT_EVERY
        alone = self._folder / "alone"
        for workdir, *flags in ((self._workdir,), (alone, "--config.checkpoint_every=100000")):
            program = self._start(workdir, f"--config.stop_at_step={stop}", *flags)
            assert program.wait() == 0, self._said()
        assert logged(self._workdir) == logged(alone)
        assert_same_state(_saved_state(self._workdir), _saved_state(alone))
        return stop

    def _start(self, workdir: pathlib.Path, *flags: str) -> subprocess.Popen:
        with self._log.open("w") as log:
            return subprocess.Popen(
                [
                    *(sys.executable, "-m", "mgm_jax.main", f"--config={self._recipe}", *flags),
                    *(f"--workdir={workdir}", f"--compile_cache={self._folder / 'compiled'}"),
                ],
                cwd=REPOSITORY,
                env={"JAX_PLATFORMS": "cpu"} | os.environ | {"XLA_FLAGS": XLA_FLAGS},
                stderr=log,
                start_new_session=True,
            )

    def _said(self) -> str:
        return self._log.read_text()

    def _has_stepped(self) -> bool:
        return re.search(r"step \d+/100000 ", self._said()) is not None

    def _intact(self) -> list[int]:
        """Intact checkpoints, the newest first."""
        steps = integrity.complete_steps(self._checkpoints)
        return [step for step in steps if not integrity.find_damage(self._checkpoints, step)]

    def _newest_intact(self) -> int:
        return next(iter(self._intact()), 0)

    def _is_saving(self, since: float) -> bool:
        unfinished = self._checkpoints.glob("*.orbax-checkpoint-tmp")
        return any(path.stat().st_ctime > since for path in unfinished)

    def _wait_for(self, moment: str, began: float) -> None:
        if moment == "starting":
            time.sleep(self._random.uniform(0, 8))
            return
        self._poll(self._has_stepped)
        if moment == "saving":
            self._poll(lambda: self._is_saving(began))
        time.sleep(self._random.uniform(0, 0.03 if moment == "saving" else 0.5))

    def _poll(self, happened: Callable[[], bool]) -> None:
        deadline = time.time() + _PATIENCE
        while not happened():
            assert time.time() < deadline, f"waited for {_PATIENCE} s:\n{self._said()}"
            time.sleep(0.002)


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _saved_state(workdir: pathlib.Path) -> object:
    config = read_config(workdir)
    mesh = make_mesh({"data": -1, "fsdp": 1, "tensor": 1}, jax.devices()[:1])
    checkpoints = Checkpoints(workdir / "checkpoints", scored=False)
    state, _ = checkpoints.restore(abstract_state(make_task(config, ()).init_fn, mesh))
    checkpoints.close()
    return state


def main() -> None:
    """Runs the command; ends with a traceback if a check fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(pathlib.Path(folder), arguments.seed)
        for number in range(arguments.kills):
            moment = chance.choices(MOMENTS, (1, 2, 3))[0]
            soak.kill(moment, group=chance.random() < 0.5, workers=chance.randrange(2))
            if chance.random() < 0.1:
                soak.damage()
            print(f"kill {number + 1}, {moment}", flush=True)
        print(f"{soak.compare()} steps, all equal to an uninterrupted run's")


if __name__ == "__main__":
    main()
