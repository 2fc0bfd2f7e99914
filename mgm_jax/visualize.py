"""Draws reconstructions and attention of a run, or masks on any videos.

    python -m mgm_jax.visualize --workdir=runs/mine

writes a sheet (PNG) for each of a few clips: frames, motion, mask, visible input and the
reconstruction by the run's last checkpoint. Models trained with `norm_pix_loss` do not predict the
mean and variance of a tubelet, which are interpolated from the visible tubelets. `--leaky` adds a
row that uses those of the target itself.

    python -m mgm_jax.visualize --workdir=runs/mine --attention=3,4,4

shows the attention of one token to all others, for runs of any task (Figures 5 and 6):
`--attention=TUBELET,ROW,COLUMN`, counted from 0, or `--attention=centre`.

    python -m mgm_jax.visualize --config=configs/ssv2_pretrain.py --strategies=all \
        --data_source=folder --data_path=DIR --out=pictures

shows the masks of all strategies, or of those named (`--strategies=mgm,mgm+window,random_tube`),
without a checkpoint. Object boxes are drawn if the records hold them, or with `--boxes=FILE` from
J-HMDB's annotations.
"""

from collections.abc import Iterator, Sequence

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from mgm_jax import config as config_lib
from mgm_jax.data.boxes import open_with_boxes
from mgm_jax.errors import ConfigError
from mgm_jax.io import AnyPath, make_path
from mgm_jax.masking import variants
from mgm_jax.pictures import gallery
from mgm_jax.program import run_program
from mgm_jax.training import distributed
from mgm_jax.training.runs import load_run, read_config

_CONFIG = config_flags.DEFINE_config_file("config", None, "Recipe; the run's own by default.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
_OUT = flags.DEFINE_string("out", None, "Folder for the pictures; WORKDIR/pictures by default.")
_NUM_CLIPS = flags.DEFINE_integer(
    "num_clips", 4, "Clips to show, evenly spaced over the videos.", lower_bound=1
)
_LEAKY = flags.DEFINE_bool("leaky", False, "Add a row with the target's mean and variance.")
_ATTENTION = flags.DEFINE_list(
    "attention", [], "Show the attention of this token: TUBELET,ROW,COLUMN or 'centre'."
)
_BLOCK = flags.DEFINE_integer("block", -1, "Block of the attention; negative: from the last.")
_STRATEGIES = flags.DEFINE_list("strategies", [], "Show the masks of these strategies, or 'all'.")
_SOURCE = flags.DEFINE_string("data_source", None, "records, folder or csv; else the config's.")
_PATH = flags.DEFINE_string("data_path", None, "Videos to show; else the config's.")
_ROOT = flags.DEFINE_string("data_root", None, "For csv: the folder that its paths start from.")
_SPLIT = flags.DEFINE_string("split", None, "Split to show; else the config's.")
_BOXES = flags.DEFINE_string("boxes", None, "Zip of J-HMDB's person boxes.")


def draw_run(
    config: ConfigDict,
    workdir: AnyPath,
    boxes: str | None = None,
    *,
    leaky: bool = False,
    attention: Sequence[str] = (),
    block: int = -1,
) -> tuple[str, Iterator[gallery.Picture]]:
    """Draws what a run's last checkpoint reconstructs, or the attention of one token.

    The config is the run's own but for `data` and `num_pictures`; the other arguments are the
    flags of the same names.

    Returns:
        A prefix for the names of the files, and the pictures.

    Raises:
        CheckpointError: There is no checkpoint.
        ConfigError: The run has no reconstructions, or no such token.
    """
    if not attention and config.task != "pretrain":
        raise ConfigError(
            f"the run at {workdir} has config.task={config.task}, and only pretraining "
            "reconstructs; for its attention add --attention=centre"
        )
    run = load_run(workdir, config=config)
    source = open_with_boxes(config.data, boxes)
    if attention:
        pictures = gallery.attention_pictures(run, source, attention, block)
        return f"attention_step{run.step:07d}_block{block}_{'_'.join(attention)}", pictures
    clips = gallery.Gallery(config, run.model, source)
    return f"step{run.step:07d}", clips.pictures(run.params, run.step, leaky=leaky)


def main(_: Sequence[str]) -> None:
    """Writes the pictures that the flags ask for."""
    distributed.use_compile_cache()
    if not _WORKDIR.value and not (_CONFIG.value and _OUT.value and _STRATEGIES.value):
        raise ConfigError("give --workdir, or --config with --strategies and --out")
    workdir = make_path(_WORKDIR.value or "")
    out = make_path(_OUT.value) if _OUT.value else workdir / "pictures"
    config = _CONFIG.value or read_config(workdir)
    data_flags = {"source": _SOURCE, "path": _PATH, "root": _ROOT, "split": _SPLIT}
    given = {name: flag.value for name, flag in data_flags.items()}
    config.data.update({name: value for name, value in given.items() if value is not None})
    with config.unlocked():  # Recipes of other tasks than pretraining have none.
        config.num_pictures = _NUM_CLIPS.value
    if _BLOCK.present and not _ATTENTION.value:
        raise ConfigError("--block has no effect without --attention")
    if _STRATEGIES.value and (_LEAKY.value or _ATTENTION.value):
        raise ConfigError("--strategies draws masks alone; leave out --leaky and --attention")
    if _LEAKY.value and (_ATTENTION.value or not config.get("norm_pix_loss")):
        raise ConfigError(
            "--leaky has no effect with --attention, nor on models that predict plain pixels "
            "(config.norm_pix_loss=False)"
        )
    if _CONFIG.value:
        config_lib.check_values(config)
    if _STRATEGIES.value:
        strategies = variants.all_strategies(_STRATEGIES.value)
        source = open_with_boxes(config.data, _BOXES.value)
        name, pictures = "masks", gallery.mask_pictures(config, source, strategies)
    else:
        name, pictures = draw_run(
            config,
            workdir,
            _BOXES.value,
            leaky=_LEAKY.value,
            attention=_ATTENTION.value,
            block=_BLOCK.value,
        )
    written = gallery.write_pictures(out, name, pictures)
    for file in written:
        logging.info("wrote %s", file)


if __name__ == "__main__":
    run_program(main)
