"""Pictures of a run, or of what masking strategies make of videos.

    python -m mgm_jax.visualize --workdir=runs/demo

shows frames, motion, mask and reconstruction of a few clips, by the run's last checkpoint. The
run's own config says which data; `--data_source`, `--data_path` and `--split` choose others.
Reconstructions of normalised pixels take the colours that the model does not predict (each
tubelet's mean and variance) from visible tubelets; `--leaky` adds a row that takes them from the
target, labelled so.

    python -m mgm_jax.visualize --config=configs/ssv2_pretrain.py --strategies=all \
        --data_source=folder --data_path=DIR --out=pictures

shows the masks of all strategies, or of some (`--strategies=mgm,mgm+window,random_tube`, see
`variants`), on any videos; it needs no checkpoint. Boxes are drawn where they are known: those of
prepared records, or with `--boxes=FILE` those published for J-HMDB (see `data.boxes`).
"""

import sys
from collections.abc import Sequence

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from mgm_jax import config as config_lib
from mgm_jax.data.boxes import open_with_boxes
from mgm_jax.errors import ConfigError, MgmError
from mgm_jax.io import AnyPath, make_path
from mgm_jax.masking import variants
from mgm_jax.pictures.gallery import Gallery, write_masks
from mgm_jax.training import distributed
from mgm_jax.training.runs import load_run, read_config

_CONFIG = config_flags.DEFINE_config_file("config", None, "Recipe; by default that of the run.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run whose last checkpoint is shown.")
_OUT = flags.DEFINE_string("out", None, "Folder for the pictures; WORKDIR/pictures by default.")
_NUM_CLIPS = flags.DEFINE_integer("num_clips", 4, "Clips to show, evenly spaced over the videos.")
_LEAKY = flags.DEFINE_bool("leaky", False, "Add the row that uses the target's mean and variance.")
_STRATEGIES = flags.DEFINE_list("strategies", [], "Show masks of these strategies, or of all.")
_SOURCE = flags.DEFINE_string("data_source", None, "Instead of the run's: records, folder, csv.")
_PATH = flags.DEFINE_string("data_path", None, "Instead of the run's.")
_ROOT = flags.DEFINE_string("data_root", None, "For csv: folder that its paths start from.")
_SPLIT = flags.DEFINE_string("split", None, "Instead of the run's.")
_BOXES = flags.DEFINE_string("boxes", None, "Zip or folder of J-HMDB's person boxes, to be drawn.")


def show_run(
    config: ConfigDict,
    workdir: AnyPath,
    out: AnyPath,
    *,
    boxes: str | None = None,
    leaky: bool = False,
) -> list[AnyPath]:
    """Writes pictures of what a run's last checkpoint makes of clips.

    Args:
        config: The run's config, its `data` and `num_pictures` perhaps changed.
        workdir: Folder of the run.
        out: Folder for the pictures.
        boxes: J-HMDB's boxes, to be drawn.
        leaky: Whether to add the row that uses the target's statistics.

    Returns:
        The files written.

    Raises:
        CheckpointError: There is no checkpoint.
        ConfigError: The run is not one of pretraining.
    """
    if config.task != "pretrain":
        raise ConfigError(
            f"the run at {workdir} is one of config.task={config.task}; only pretraining "
            "reconstructs what is hidden"
        )
    run = load_run(workdir, config=config)
    gallery = Gallery(config, run.model, open_with_boxes(config.data, boxes))
    return gallery.write(run.params, run.step, out, leaky=leaky)


def show_strategies(
    config: ConfigDict, strategies: Sequence[str], out: AnyPath, *, boxes: str | None = None
) -> list[AnyPath]:
    """Writes pictures of the masks that strategies make for clips.

    Args:
        config: Says which clips, token grid and mask ratio.
        strategies: Names for `variants.all_strategies`.
        out: Folder for the pictures.
        boxes: J-HMDB's boxes, to be drawn.

    Returns:
        The files written.

    Raises:
        ConfigError: No such strategy.
    """
    return write_masks(
        config, open_with_boxes(config.data, boxes), variants.all_strategies(strategies), out
    )


def main(_: Sequence[str]) -> None:
    """Writes the pictures that the flags ask for; bad input ends with its message."""
    distributed.use_compile_cache()
    try:
        if not _WORKDIR.value and not (_CONFIG.value and _OUT.value and _STRATEGIES.value):
            raise ConfigError("give --workdir, or --config with --strategies and --out")
        workdir = make_path(_WORKDIR.value or "")
        out = make_path(_OUT.value) if _OUT.value else workdir / "pictures"
        config = _CONFIG.value or read_config(workdir)
        flags_of = {"source": _SOURCE, "path": _PATH, "root": _ROOT, "split": _SPLIT}
        chosen = {name: flag.value for name, flag in flags_of.items()}
        config.data.update({name: value for name, value in chosen.items() if value is not None})
        config.num_pictures = _NUM_CLIPS.value
        config_lib.check_values(config)
        if _STRATEGIES.value:
            files = show_strategies(config, _STRATEGIES.value, out, boxes=_BOXES.value)
        else:
            files = show_run(config, workdir, out, boxes=_BOXES.value, leaky=_LEAKY.value)
    except MgmError as error:
        sys.exit(f"error: {error}")
    for file in files:
        logging.info("wrote %s", file)


if __name__ == "__main__":
    distributed.log_to_stderr()
    app.run(main)
