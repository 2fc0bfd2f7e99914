"""Pictures of a run: frames, motion, mask and reconstruction of a few clips.

    python -m mgm_jax.visualize --workdir=runs/demo --out=runs/demo/pictures

The checkpoint's own config says which data; `--data_source`, `--data_path` and `--split` choose
others. Reconstructions take the colours that the model does not predict (each tubelet's mean and
variance) from visible tubelets; `--leaky` adds a row that takes them from the target, labelled so.
"""

import json
import pathlib
import sys
from collections.abc import Sequence

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict

from mgm_jax import optim, runtime, sharding
from mgm_jax.checkpoints import Checkpoints
from mgm_jax.data.sources import make_source
from mgm_jax.errors import CheckpointError, MgmError
from mgm_jax.gallery import Gallery
from mgm_jax.models import mae
from mgm_jax.state import abstract_state, make_init_fn

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run whose last checkpoint is shown.")
_OUT = flags.DEFINE_string("out", None, "Folder for the pictures; WORKDIR/pictures by default.")
_NUM_CLIPS = flags.DEFINE_integer("num_clips", 4, "Clips to show, evenly spaced over the videos.")
_LEAKY = flags.DEFINE_bool("leaky", False, "Add the row that uses the target's mean and variance.")
_SOURCE = flags.DEFINE_string("data_source", None, "Instead of the run's: records or folder.")
_PATH = flags.DEFINE_string("data_path", None, "Instead of the run's.")
_SPLIT = flags.DEFINE_string("split", None, "Instead of the run's.")


def visualize(
    workdir: pathlib.Path,
    out: pathlib.Path,
    *,
    num_clips: int,
    leaky: bool = False,
    data: dict[str, str] | None = None,
) -> list[pathlib.Path]:
    """Pictures of a run's last checkpoint.

    Args:
        workdir: Folder of the run.
        out: Folder for the pictures.
        num_clips: Clips to show.
        leaky: Whether to add the row that uses the target's statistics.
        data: Values of `config.data` that replace the run's.

    Returns:
        The files written.

    Raises:
        CheckpointError: There is no checkpoint.
    """
    if not (workdir / "config.json").exists():
        raise CheckpointError(f"no run at {workdir}: it has no config.json; give its --workdir")
    config = ConfigDict(json.loads((workdir / "config.json").read_text()))
    config.data.update(data or {})
    config.num_pictures = num_clips
    checkpoints = Checkpoints(workdir / "checkpoints")
    if checkpoints.latest_step() is None:
        raise CheckpointError(f"the run at {workdir} has no complete checkpoint yet")

    source = make_source(config.data.source, config.data.path, config.data.split)
    model = mae.make_autoencoder(config.model, config.data.clip_frames, config.data.size)
    optimizer, _ = optim.make_optimizer(config.optimizer, 1, 0, config.batch_size)
    mesh = sharding.make_mesh({"data": -1, "fsdp": 1, "tensor": 1}, jax.devices()[:1])
    state, _ = checkpoints.restore(abstract_state(make_init_fn(config, model, optimizer), mesh))
    checkpoints.close()
    return Gallery(config, model, source).write(state.params, int(state.step), out, leaky=leaky)


def main(_: Sequence[str]) -> None:
    """Writes the pictures that the flags ask for; bad input ends with its message."""
    runtime.use_compile_cache()
    workdir = pathlib.Path(_WORKDIR.value)
    chosen = {"source": _SOURCE.value, "path": _PATH.value, "split": _SPLIT.value}
    try:
        files = visualize(
            workdir,
            pathlib.Path(_OUT.value) if _OUT.value else workdir / "pictures",
            num_clips=_NUM_CLIPS.value,
            leaky=_LEAKY.value,
            data={name: value for name, value in chosen.items() if value is not None},
        )
    except MgmError as error:
        sys.exit(f"error: {error}")
    for file in files:
        logging.info("wrote %s", file)


if __name__ == "__main__":
    flags.mark_flag_as_required("workdir")
    runtime.log_to_stderr()
    app.run(main)
