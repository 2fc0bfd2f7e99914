"""Measures of masks and of the motion that guides them, for any videos, as tables and pictures.

    python -m mgm_jax.measure --config=configs/ssv2_pretrain.py --strategies=all,variants \
        --data_source=folder --data_path=DIR --out=measures

For every source of motion (`--motions=codec,median`; `mgm_jax.variants` has the names), it
prints how far motion is concentrated in the boxes, where boxes are known, and for every strategy
how much of the motion and of the boxes the mask hides and how it goes on from step to step. The
table goes to `OUT/measures.md`; sheets of some clips, masked with the first source of motion,
stand beside it. `mgm_jax.measures` defines the measures. Clips are cropped at the centre, one for
each video.

Boxes are those of prepared records, or with `--boxes=FILE` those published for J-HMDB. For
`--motions=flow`, make the flow first with `mgm_jax.flow.precompute` and set
`--config.data.flow_path`.
"""

import collections
import dataclasses
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from absl import app, flags, logging
from jaxtyping import Float
from ml_collections import ConfigDict, config_flags

from mgm_jax import config as config_lib
from mgm_jax.data.boxes import open_with_boxes
from mgm_jax.data.centre_clips import CentreClip, CentreClips, spread
from mgm_jax.data.motion import flow_files
from mgm_jax.data.records import VideoSource
from mgm_jax.errors import ConfigError, MgmError, VideoError
from mgm_jax.masking import statistics, variants
from mgm_jax.pictures.gallery import guiding_motion, make_mask_fns, write_masks
from mgm_jax.training import distributed

MOTION, BOX_AREA, CONTINUITY = "motion covered", "box area covered", "continuity"


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured: an array over clips for each measure, NaN where a clip has no value.

    Attributes:
        num_clips: Clips that were read.
        unread: Messages about videos that could not be read.
        motions: By source of motion: mean motion `inside` and `outside` the boxes, pixels.
        masks: By source of motion and strategy: each of `MOTION`, `BOX_AREA`, `CONTINUITY`.
    """

    num_clips: int
    unread: list[str]
    motions: Mapping[str, Mapping[str, Float[np.ndarray, " clips"]]]
    masks: Mapping[tuple[str, str], Mapping[str, Float[np.ndarray, " clips"]]]


def measure(
    config: ConfigDict,
    source: VideoSource,
    strategies: Sequence[str],
    motions: Sequence[str],
    num_clips: int | None = None,
    num_draws: int = 8,
) -> Measured:
    """Measures masks on clips of evenly spaced videos.

    Args:
        config: The run's config.
        source: The videos.
        strategies: Names for `variants.with_strategy`.
        motions: Names for `variants.with_motion`. Each guides the masks that are measured with it,
            and is the motion they are to cover.
        num_clips: How many videos; all by default.
        num_draws: Masks drawn for each clip, of which the mean counts.

    Returns:
        The measures. A video that cannot be read with one of the sources of motion is left out
        of all.

    Raises:
        ConfigError: No such strategy or source of motion.
        VideoError: No video can be read.
    """
    configs = {name: variants.with_motion(config, name) for name in motions}
    for name, changed in configs.items():
        config_lib.check_values(changed)
        if changed.data.motion in ("raft", "none"):
            raise ConfigError(
                f"--motions={name}: motion by config.data.motion={changed.data.motion!r} is not "
                "there to be measured; for optical flow, make it with mgm_jax.flow.precompute and "
                "measure flow"
            )
    # What the masks are computed from, not how, depends on where the motion was read.
    compiled = {c.masking.camera_compensation: c for c in configs.values()}
    compiled = {mode: make_mask_fns(c, strategies) for mode, c in compiled.items()}
    mask_fns = {name: compiled[c.masking.camera_compensation] for name, c in configs.items()}
    readers = {name: CentreClips(changed, source) for name, changed in configs.items()}
    keys = jax.random.split(jax.random.key(config.seed), num_draws)
    about_motion = {name: collections.defaultdict(list) for name in motions}
    about_masks = {(m, s): collections.defaultdict(list) for m in motions for s in strategies}
    done, unread = 0, []
    for video in spread(num_clips or len(source), len(source)):
        try:
            clips = _read(readers, video)
        except (VideoError, OSError) as error:
            logging.warning("left out %s", error)
            unread.append(str(error))
            continue
        done += 1
        for name, clip in clips.items():
            lengths = statistics.magnitude(
                guiding_motion(configs[name], clip), clip.batch["motion_valid"][0]
            )
            inside, sides = None, (np.nan, np.nan)
            if clip.boxes is not None:
                inside = statistics.inside_boxes(clip.boxes, config.data.size)
                sides = statistics.motion_inside_and_outside(lengths, inside)
            for side, value in zip(("inside", "outside"), sides, strict=True):
                about_motion[name][side].append(value)
            for strategy, mask_fn in mask_fns[name].items():
                masks = np.asarray(mask_fn(clip.batch, keys))[:, 0]
                values = about_masks[name, strategy]
                values[MOTION].append(statistics.motion_covered(lengths, masks).mean())
                values[CONTINUITY].append(statistics.temporal_continuity(masks).mean())
                area = statistics.box_area_covered(inside, masks) if inside is not None else np.nan
                values[BOX_AREA].append(np.mean(area))
    if not done:
        raise VideoError(
            f"nothing can be measured: none of the {len(unread)} videos can be read, the first is "
            + unread[0]
        )
    return Measured(done, unread, _arrays(about_motion), _arrays(about_masks))


def _read(readers: Mapping[str, CentreClips], video: int) -> dict[str, CentreClip]:
    """The video's clip with each source of motion; those that share a reading are read once."""
    read: dict[str, CentreClip] = {}
    clips = {}
    for name, reader in readers.items():
        how = reader.spec.motion
        if how not in read:
            read[how] = reader[video]
        clips[name] = read[how]
    return clips


def _arrays(tables: Mapping) -> dict:
    return {
        key: {name: np.array(values) for name, values in table.items()}
        for key, table in tables.items()
    }


def to_markdown(config: ConfigDict, measured: Measured) -> str:
    """The tables of a measurement.

    Args:
        config: The run's config.
        measured: The measurement.

    Returns:
        Markdown. Shares are means over clips with their standard errors, and beside them their
        differences, clip by clip, from those of the first strategy, in percentage points.
    """
    data = config.data
    grid = (data.clip_frames, data.size, data.size)
    tokens = "x".join(str(n // p) for n, p in zip(grid, config.model.tubelet, strict=True))
    lines = [
        f"{measured.num_clips} clips of {data.clip_frames} frames, stride {data.stride}, "
        f"{data.size} pixels, {tokens} tokens, mask ratio {config.masking.ratio:g}"
        + (f"; {len(measured.unread)} videos could not be read" if measured.unread else "")
        + ".",
    ]
    if any("flow" in name for name in measured.motions) and describe_flow(config):
        lines += ["", describe_flow(config)]
    any_boxes = any(np.isfinite(sides["inside"]).any() for sides in measured.motions.values())
    if any_boxes:
        lines += ["", *_saliency_table(measured)]
    lines += ["", *_mask_table(measured, any_boxes)]
    return "\n".join(lines) + "\n"


def describe_flow(config: ConfigDict) -> str:
    """How the stored flow that a config names was made; empty where that is not known."""
    folder = pathlib.Path(config.data.flow_path)
    found = [*folder.glob(flow_files.SETTINGS_FILE), *folder.glob(f"*/{flow_files.SETTINGS_FILE}")]
    made = {", ".join(f"{k} {v}" for k, v in json.loads(f.read_text()).items()) for f in found}
    return f"`flow`: {' or '.join(sorted(made))}." if config.data.flow_path and made else ""


def _saliency_table(measured: Measured) -> list[str]:
    lines = [
        "| motion | saliency score r | median of the clips' r | inside, px | outside, px | clips |",
        "|---|---|---|---|---|---|",
    ]
    for name, sides in measured.motions.items():
        inside, outside = sides["inside"], sides["outside"]
        both = np.isfinite(inside) & np.isfinite(outside)
        ratios = inside[both & (outside > 0)] / outside[both & (outside > 0)]
        lines.append(
            f"| {name} | {statistics.saliency_score(inside, outside):.2f} "
            f"| {np.median(ratios):.2f} "
            f"| {inside[both].mean():.2f} | {outside[both].mean():.2f} | {both.sum()} |"
        )
    return lines


def _mask_table(measured: Measured, any_boxes: bool) -> list[str]:
    shown = [MOTION, BOX_AREA] if any_boxes else [MOTION]
    motions, strategies = (list(dict.fromkeys(part)) for part in zip(*measured.masks, strict=True))
    # Differences clip by clip are known far better than the means that they are between.
    other = strategies[0]
    columns = [column for name in shown for column in (name, f"minus {other}'s")] + [CONTINUITY]
    lines = [f"| motion | strategy | {' | '.join(columns)} |", "|---" * (2 + len(columns)) + "|"]
    for name in motions:
        for strategy in strategies:
            values, others = measured.masks[name, strategy], measured.masks[name, other]
            cells = []
            for column in shown:
                cells.append(f"{_percent(values[column])} %")
                difference = values[column] - others[column]
                cells.append("" if strategy == other else _percent(difference, "+"))
            cells.append(f"{_percent(values[CONTINUITY])} %")
            lines.append(f"| {name} | {strategy} | {' | '.join(cells)} |")
    return lines


def _percent(values: Float[np.ndarray, " clips"], sign: str = "") -> str:
    mean, error, _ = statistics.mean_and_error(values)
    return f"{100 * mean:{sign}.1f} ± {100 * error:.1f}"


def _define_flags() -> None:
    config_flags.DEFINE_config_file("config", None, "Recipe.")
    flags.DEFINE_string("data_source", None, "Instead of the config's: records, folder or csv.")
    flags.DEFINE_string("data_path", None, "Instead of the config's.")
    flags.DEFINE_string("data_root", None, "For csv: folder that its paths start from.")
    flags.DEFINE_string("split", None, "Instead of the config's.")
    flags.DEFINE_string("boxes", None, "Zip or folder of J-HMDB's person boxes.")
    flags.DEFINE_list("strategies", ["all"], "Strategies; 'all', 'variants' stand for several.")
    flags.DEFINE_list("motions", ["codec", "median"], "Sources of motion.")
    flags.DEFINE_integer("num_clips", None, "Clips, evenly spaced over the videos; else all.")
    flags.DEFINE_integer("num_draws", 8, "Masks drawn for each clip.", lower_bound=1)
    flags.DEFINE_integer("num_pictures", 4, "Clips to show.", lower_bound=0)
    flags.DEFINE_string("out", None, "Folder for the table and the pictures.", required=True)
    flags.mark_flag_as_required("config")


def main(_: Sequence[str]) -> None:
    """Measures what the flags ask for; bad input ends with its message."""
    values = flags.FLAGS
    distributed.use_compile_cache()
    config, out = values.config, pathlib.Path(values.out)
    chosen = {
        "source": values.data_source,
        "path": values.data_path,
        "root": values.data_root,
        "split": values.split,
    }
    config.data.update({name: value for name, value in chosen.items() if value is not None})
    try:
        strategies = variants.all_strategies(values.strategies)
        source = open_with_boxes(config.data, values.boxes)
        measured = measure(
            config, source, strategies, values.motions, values.num_clips, values.num_draws
        )
        table = to_markdown(config, measured)
        out.mkdir(parents=True, exist_ok=True)
        (out / "measures.md").write_text(table)
        if values.num_pictures:
            config = variants.with_motion(config, values.motions[0])
            config.num_pictures = values.num_pictures
            write_masks(config, source, strategies, out)
    except MgmError as error:
        sys.exit(f"error: {error}")
    print(table)
    logging.info("wrote %s", out)


if __name__ == "__main__":
    # Only in the program itself: other commands have flags of equal names.
    _define_flags()
    distributed.log_to_stderr()
    app.run(main)
