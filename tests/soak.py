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
import collections
import json
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
import numpy as np

from mgm_jax.training import digests
from mgm_jax.training.checkpoints import Checkpoints
from mgm_jax.training.runs import read_config
from mgm_jax.training.sharding import make_mesh
from mgm_jax.training.state import abstract_state
from mgm_jax.training.tasks import make_task
from tests import rendered
from tests.quick_compilation import XLA_FLAGS

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
CHECKPOINT_EVERY = 4
MOMENTS = ("starting", "training", "saving")
TIMINGS = ("clips_per_second", "data_wait_share", "eta_seconds")

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


class SoakError(AssertionError):
    """The run did what it must not do."""


class Soak:
    """One run that is killed again and again.

    Attributes:
        counts: What happened, by name.
    """

    def __init__(self, folder: pathlib.Path, seed: int):
        """Writes the videos and the recipe into an empty folder."""
        self.counts: collections.Counter[str] = collections.Counter()
        self._folder, self._workdir = folder, folder / "killed"
        self._random = random.Random(seed)
        self._recipe, self._log = folder / "recipe.py", folder / "program.log"
        videos = rendered.write_folder(folder / "videos", num_videos=6, frames=12)
        self._recipe.write_text(_RECIPE.format(videos=str(videos), every=CHECKPOINT_EVERY))
        self._start_seconds = 5.0
        self._damaged: set[int] = set()  # Inodes, for a step may be saved again.

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
        if program.wait() != -signal.SIGKILL:
            raise SoakError(f"ended by itself, code {program.returncode}:\n{self._said()}")
        self._poll(lambda: not _is_alive(program.pid))

        resumed = re.search(r"resuming from the checkpoint of step (\d+)", self._said())
        last_step = self._last_step()
        if (resumed or last_step) and expected != (int(resumed[1]) if resumed else 0):
            raise SoakError(f"step {expected} was saved, but:\n{self._said()}")
        self.counts["kills"] += 1
        self.counts["kills in the middle of a save"] += self._is_saving(began)
        self.counts["kills before the first step"] += not last_step
        self.counts["kills of the program without its data workers"] += bool(workers and not group)
        self.counts["steps repeated"] += max(last_step - self._newest_intact(), 0)

    def damage(self) -> None:
        """Damages a file of the newest checkpoint, if there is an older one to resume from."""
        intact = [step for step in self._steps() if self._inode(step) not in self._damaged]
        if len(intact) < 2:
            return
        checkpoint = self._workdir / "checkpoints" / str(intact[0])
        listed = (checkpoint / digests.FILE).read_text().splitlines()
        file = checkpoint / self._random.choice(listed).split("  ", 1)[1]
        how = self._random.choice(("cut short", "deleted", "one bit flipped"))
        data = bytearray(file.read_bytes())
        if how == "deleted":
            file.unlink()
        elif how == "one bit flipped":
            data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
            file.write_bytes(data)
        else:
            file.write_bytes(data[: self._random.randrange(len(data))])
        self._damaged.add(self._inode(intact[0]))
        self.counts[f"files of checkpoints {how}"] += 1

    def compare(self) -> None:
        """Lets the run train a little further, and compares it with an uninterrupted one."""
        stop = f"--config.stop_at_step={(self._newest_intact() or 0) + 2 * CHECKPOINT_EVERY}"
        alone = self._folder / "alone"
        for workdir, *flags in ((self._workdir,), (alone, "--config.checkpoint_every=100000")):
            program = self._start(workdir, stop, *flags)
            if program.wait():
                raise SoakError(f"code {program.returncode}:\n{self._said()}")
        lines = _logged(alone)
        if _logged(self._workdir) != lines:
            raise SoakError("the losses differ from those of the uninterrupted run")
        equal = jax.tree.map(np.array_equal, _saved_state(self._workdir), _saved_state(alone))
        if not all(jax.tree.leaves(equal)):
            raise SoakError("the state differs from that of the uninterrupted run")
        self.counts["steps, all equal to an uninterrupted run's"] = len(lines)

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

    def _last_step(self) -> int:
        """The last step that the program has logged since it started; 0 for none."""
        return int(["0", *re.findall(r"step (\d+)/100000 ", self._said())][-1])

    def _steps(self) -> list[int]:
        """Complete checkpoints, the newest first."""
        found = (self._workdir / "checkpoints").glob("[0-9]*")
        return sorted((int(path.name) for path in found if path.name.isdigit()), reverse=True)

    def _inode(self, step: int) -> int:
        return (self._workdir / "checkpoints" / str(step)).stat().st_ino

    def _newest_intact(self) -> int:
        intact = (step for step in self._steps() if self._inode(step) not in self._damaged)
        return next(intact, 0)

    def _is_saving(self, since: float) -> bool:
        unfinished = (self._workdir / "checkpoints").glob("*.orbax-checkpoint-tmp")
        return any(path.stat().st_ctime > since for path in unfinished)

    def _wait_for(self, moment: str, began: float) -> None:
        if moment == "starting":
            time.sleep(self._random.uniform(0, self._start_seconds))
            return
        self._poll(self._last_step)
        self._start_seconds = time.time() - began
        if moment == "saving":
            self._poll(lambda: self._is_saving(began))
        time.sleep(self._random.uniform(0, 0.03 if moment == "saving" else 0.5))

    def _poll(self, happened: Callable[[], object]) -> None:
        deadline = time.time() + _PATIENCE
        while not happened():
            if time.time() > deadline:
                raise SoakError(f"still waiting after {_PATIENCE} s:\n{self._said()}")
            time.sleep(0.002)


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _logged(workdir: pathlib.Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in line if name not in TIMINGS} for line in lines]


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
    began = time.time()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(pathlib.Path(folder), arguments.seed)
        for number in range(arguments.kills):
            moment = chance.choices(MOMENTS, (1, 2, 3))[0]
            soak.kill(moment, group=chance.random() < 0.5, workers=chance.randrange(2))
            if chance.random() < 0.1:
                soak.damage()
            print(f"kill {number + 1}, {moment}: {time.time() - began:.0f} s", flush=True)
        soak.compare()
    for name, count in soak.counts.items():
        print(f"{count:6d} {name}")


if __name__ == "__main__":
    main()
