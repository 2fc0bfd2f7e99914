"""Pictures of a run, or of what masking strategies make of videos.

    python -m mgm_jax.visualize --workdir=runs/demo

shows frames, motion, mask and reconstruction of a few clips, by the run's last checkpoint. The
run's own config says which data; `--data_source`, `--data_path` and `--split` choose others.
Reconstructions of normalised pixels take the colours that the model does not predict (each
tubelet's mean and variance) from visible tubelets; `--leaky` adds a row that takes them from the
target, labelled so.

    python -m mgm_jax.visualize --config=configs/ssv2_pretrain.py --strategies=all \
        --data_source=folder --data_path=DIR --out=pictures

shows the masks of all strategies, or of some (`--strategies=mgm,random_tube`), on any videos; it
needs no checkpoint.
"""

import json
import pathlib
import sys
from collections.abc import Sequence

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from mgm_jax import config as config_lib
from mgm_jax import masking, optim, pictures, runtime, sharding
from mgm_jax.checkpoints import Checkpoints
from mgm_jax.data.sources import make_source
from mgm_jax.errors import CheckpointError, ConfigError, MgmError
from mgm_jax.gallery import Gallery, mask_clips, save_pictures
from mgm_jax.models import mae
from mgm_jax.state import abstract_state, make_init_fn

_CONFIG = config_flags.DEFINE_config_file("config", None, "Recipe; by default that of the run.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run whose last checkpoint is shown.")
_OUT = flags.DEFINE_string("out", None, "Folder for the pictures; WORKDIR/pictures by default.")
_NUM_CLIPS = flags.DEFINE_integer("num_clips", 4, "Clips to show, evenly spaced over the videos.")
_LEAKY = flags.DEFINE_bool("leaky", False, "Add the row that uses the target's mean and variance.")
_STRATEGIES = flags.DEFINE_list("strategies", [], "Show masks of these strategies, or of all.")
_SOURCE = flags.DEFINE_string("data_source", None, "Instead of the run's: records or folder.")
_PATH = flags.DEFINE_string("data_path", None, "Instead of the run's.")
_SPLIT = flags.DEFINE_string("split", None, "Instead of the run's.")


def read_config(workdir: pathlib.Path) -> ConfigDict:
    """The config of a run.

    Raises:
        CheckpointError: There is no run in the folder.
    """
    file = workdir / "config.json"
    if not file.exists():
        raise CheckpointError(f"no run at {workdir}: it has no config.json; give its --workdir")
    return ConfigDict(json.loads(file.read_text()))


def show_run(
    config: ConfigDict, workdir: pathlib.Path, out: pathlib.Path, *, leaky: bool = False
) -> list[pathlib.Path]:
    """Writes pictures of what a run's last checkpoint makes of clips.

    Args:
        config: The run's config, its `data` and `num_pictures` perhaps changed.
        workdir: Folder of the run.
        out: Folder for the pictures.
        leaky: Whether to add the row that uses the target's statistics.

    Returns:
        The files written.

    Raises:
        CheckpointError: There is no checkpoint.
    """
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


def show_strategies(
    config: ConfigDict, strategies: Sequence[str], out: pathlib.Path
) -> list[pathlib.Path]:
    """Writes pictures of the masks that strategies make for clips.

    Args:
        config: Says which clips, token grid and mask ratio.
        strategies: Names in `masking.STRATEGIES`, or "all" alone.
        out: Folder for the pictures.

    Returns:
        The files written.

    Raises:
        ConfigError: No such strategy.
    """
    if list(strategies) == ["all"]:
        strategies = list(masking.STRATEGIES)
    source = make_source(config.data.source, config.data.path, config.data.split)
    files = []
    for number, clip in enumerate(mask_clips(config, source, strategies)):
        files += save_pictures(
            out / f"masks_clip{number}",
            pictures.mask_sheet(**clip),
            pictures.mask_animation(**clip),
        )
    return files


def main(_: Sequence[str]) -> None:
    """Writes the pictures that the flags ask for; bad input ends with its message."""
    runtime.use_compile_cache()
    try:
        if not _WORKDIR.value and not (_CONFIG.value and _OUT.value and _STRATEGIES.value):
            raise ConfigError("give --workdir, or --config with --strategies and --out")
        workdir = pathlib.Path(_WORKDIR.value or "")
        out = pathlib.Path(_OUT.value) if _OUT.value else workdir / "pictures"
        config = _CONFIG.value or read_config(workdir)
        chosen = {"source": _SOURCE.value, "path": _PATH.value, "split": _SPLIT.value}
        config.data.update({name: value for name, value in chosen.items() if value is not None})
        config.num_pictures = _NUM_CLIPS.value
        config_lib.check_values(config)
        if _STRATEGIES.value:
            files = show_strategies(config, _STRATEGIES.value, out)
        else:
            files = show_run(config, workdir, out, leaky=_LEAKY.value)
    except MgmError as error:
        sys.exit(f"error: {error}")
    for file in files:
        logging.info("wrote %s", file)


if __name__ == "__main__":
    runtime.log_to_stderr()
    app.run(main)
