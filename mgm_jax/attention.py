"""Pictures of what a run's encoder attends to (Figures 5 and 6).

    python -m mgm_jax.attention --workdir=runs/demo

shows a few clips of the run's data, the brighter the more its last block attends there from the
centre patch of the centre frame; `--block` and `--query=STEP,ROW,COLUMN` choose others, in tokens,
counted from 0. Pretraining, finetuning and probing runs all do. Like the paper's, these pictures
are to look at: they are no explanation of what the model computes.
"""

import functools
import sys
from collections.abc import Sequence

import jax
import numpy as np
from absl import app, flags, logging
from ml_collections import ConfigDict

from mgm_jax import config as config_lib
from mgm_jax.data.boxes import open_with_boxes
from mgm_jax.data.centre_clips import CentreClip
from mgm_jax.errors import ConfigError, MgmError
from mgm_jax.io import AnyPath, make_path
from mgm_jax.pictures import attention_maps, attention_sheets, gallery
from mgm_jax.preprocessing import rgb
from mgm_jax.training import distributed
from mgm_jax.training.runs import load_run, read_config


def show_attention(
    config: ConfigDict,
    workdir: AnyPath,
    out: AnyPath,
    *,
    block: int = -1,
    query: tuple[int, int, int] | None = None,
    boxes: str | None = None,
) -> list[AnyPath]:
    """Writes a sheet (PNG) and an animation (GIF) for each of a few clips.

    Args:
        config: The run's config, its `data` and `num_pictures` perhaps changed.
        workdir: Folder of the run.
        out: Folder for the pictures.
        block: Number of the block; negative ones count from the last.
        query: Step, row and column of the token that attends; None for the centre.
        boxes: J-HMDB's boxes, to be drawn.

    Returns:
        The files written.

    Raises:
        CheckpointError: There is no checkpoint.
        ConfigError: There is no such block or token.
        VideoError: None of the chosen videos can be read.
    """
    run = load_run(workdir, config=config)
    model = run.model
    query_id = attention_maps.token_id(query, model.grid)
    query = tuple(map(int, np.unravel_index(query_id, model.grid)))
    attention_fn = jax.jit(attention_maps.make_attention_fn(model, query_id, block))
    to_rgb = jax.jit(functools.partial(rgb.batch_to_rgb, size=config.data.size))
    name = "the last block" if block == -1 else f"block {block}"
    files = []
    for number, clip in enumerate(gallery.read_clips(config, open_with_boxes(config.data, boxes))):
        frames = to_rgb(clip.batch)
        weights = attention_fn(run.params, rgb.normalise(frames))
        shown = {
            "frames": np.asarray(frames)[0],
            "motion": _motion(config, clip),
            "motion_valid": clip.batch["motion_valid"][0],
            "attention": np.asarray(weights)[0],
            "query": query,
            "clip_id": clip.name,
            "subtitle": f"attention of {name} · step {run.step:,}",
            "boxes": clip.boxes,
        }
        files += gallery.save_pictures(
            out / f"attention_step{run.step:07d}_clip{number}",
            attention_sheets.attention_sheet(**shown),
            attention_sheets.attention_animation(**shown),
        )
    return files


def _motion(config: ConfigDict, clip: CentreClip) -> np.ndarray:
    """What guides the masks in pretraining; in other runs nothing is guided."""
    if "masking" in config:
        return gallery.guiding_motion(config, clip)
    return clip.batch["motion"][0]


def _define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
    flags.DEFINE_string("out", None, "Folder for the pictures; WORKDIR/pictures by default.")
    flags.DEFINE_integer("block", -1, "Block whose attention is shown; negative: from the last.")
    flags.DEFINE_list("query", [], "Step, row, column of the token; the centre by default.")
    flags.DEFINE_integer("num_clips", 4, "Clips to show, evenly spaced over the videos.")
    flags.DEFINE_string("data_source", None, "Instead of the run's: records, folder, csv.")
    flags.DEFINE_string("data_path", None, "Instead of the run's.")
    flags.DEFINE_string("data_root", None, "For csv: folder that its paths start from.")
    flags.DEFINE_string("split", None, "Instead of the run's.")
    flags.DEFINE_string("boxes", None, "Zip or folder of J-HMDB's person boxes, to be drawn.")


def _read_query(parts: Sequence[str]) -> tuple[int, int, int] | None:
    if not parts:
        return None
    if len(parts) != 3 or not all(part.strip().isdecimal() for part in parts):
        raise ConfigError(f"--query={','.join(parts)} must be three numbers: STEP,ROW,COLUMN")
    step, row, column = map(int, parts)
    return step, row, column


def main(argv: Sequence[str]) -> None:
    """Writes the pictures that the flags ask for; bad input ends with its message."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    args = flags.FLAGS
    distributed.use_compile_cache()
    try:
        workdir = make_path(args.workdir)
        config = read_config(workdir)
        chosen = {
            "source": args.data_source,
            "path": args.data_path,
            "root": args.data_root,
            "split": args.split,
        }
        config.data.update({name: value for name, value in chosen.items() if value is not None})
        config.num_pictures = args.num_clips
        config_lib.check_values(config)
        files = show_attention(
            config,
            workdir,
            make_path(args.out) if args.out else workdir / "pictures",
            block=args.block,
            query=_read_query(args.query),
            boxes=args.boxes,
        )
    except MgmError as error:
        sys.exit(f"error: {error}")
    for file in files:
        logging.info("wrote %s", file)


if __name__ == "__main__":
    _define_flags()
    distributed.log_to_stderr()
    app.run(main)
