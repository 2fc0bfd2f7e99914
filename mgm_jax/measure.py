"""Measures masks, and the motion that guides them, on any videos.

    python -m mgm_jax.measure --config=configs/ssv2_pretrain.py --strategies=all,variants \
        --config.data.source=folder --config.data.path=DIR --out=measures

writes tables, `OUT/measures.md` (`mgm_jax.visualize` draws the masks). They show, for each source
of motion (`--motions=codec,median`; see `masking.variants`), how much more motion there is inside
object boxes than outside, if there are boxes; and for each masking strategy, how much of the motion
and of the box area it masks, and how similar its masks are from one tubelet to the next
(`masking.statistics`). One clip of each video is measured, cropped at the centre.

Boxes are those of the records, or J-HMDB's annotations (`--boxes=FILE`). For `--motions=flow`,
compute the flow first with `mgm_jax.flow.precompute` and set `--config.data.flow_path`.
"""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import numpy as np
from absl import flags, logging
from jaxtyping import Array, Float
from ml_collections import ConfigDict, config_flags

from mgm_jax import config as config_lib
from mgm_jax.data.boxes import open_with_boxes
from mgm_jax.data.centre_clips import CentreClip, CentreClips, spread
from mgm_jax.data.records import VideoSource
from mgm_jax.errors import ConfigError, VideoError
from mgm_jax.io import local_path, writing
from mgm_jax.masking import statistics, variants
from mgm_jax.pictures.gallery import guiding_motion, make_mask_fns
from mgm_jax.program import run_program
from mgm_jax.training import distributed

INSIDE, OUTSIDE = "inside", "outside"
MOTION, BOX_AREA, CONTINUITY = "motion masked", "box area masked", "continuity"


@dataclasses.dataclass(frozen=True)
class Measures:
    """What was measured.

    Attributes:
        unread: Error messages of the videos that could not be read.
        values: Arrays over clips by source of motion, strategy and measure; NaN where a clip has no
            value, such as without a box. `INSIDE` and `OUTSIDE`, the mean motion inside and outside
            of the boxes in pixels, belong to no strategy: "".
    """

    unread: list[str]
    values: Mapping[tuple[str, str, str], Float[np.ndarray, " clips"]]


def measure(
    config: ConfigDict,
    source: VideoSource,
    strategies: Sequence[str],
    motions: Sequence[str],
    num_clips: int | None = None,
    num_draws: int = 8,
) -> Measures:
    """Measures masks on clips of `num_clips` evenly spaced videos (default: all).

    Names are those of `masking.variants`; each source of motion guides the masks and measures them.
    Measures are averaged over `num_draws` masks of a clip. Videos that cannot be read with one of
    the sources of motion are left out.

    Raises:
        ConfigError: There is no such strategy or source of motion.
        VideoError: No video can be read.
    """
    # What guides masks has an effect with mgm alone, whatever the recipe's own strategy is.
    own = variants.with_strategy(config, "mgm")
    configs = {name: variants.with_motion(own, name) for name in motions}
    for name, changed in configs.items():
        if changed.data.motion in ("raft", "none"):
            raise ConfigError(
                f"--motions={name}: config.data.motion={changed.data.motion!r} gives no motion to "
                "measure; for optical flow, compute it with mgm_jax.flow.precompute and use flow"
            )
        config_lib.check_values(changed)
    mask_fns = {name: make_mask_fns(changed, strategies) for name, changed in configs.items()}
    # Each clip is read once for all sources of motion that read it in the same way.
    readers = {str(c.data): CentreClips(c, source) for c in configs.values()}
    keys = jax.random.split(jax.random.key(config.seed), num_draws)
    unread: list[str] = []
    values: dict[tuple[str, str, str], list[float]] = collections.defaultdict(list)
    for video in spread(num_clips or len(source), len(source)):
        try:
            clips = {data: reader[video] for data, reader in readers.items()}
        except (VideoError, OSError) as error:
            logging.warning("skipped %s", error)
            unread.append(str(error))
            continue
        for name, changed in configs.items():
            found = _measure_clip(changed, clips[str(changed.data)], mask_fns[name], keys)
            for key, value in found.items():
                values[name, *key].append(value)
    if not values:
        raise VideoError(
            f"none of the {len(unread)} videos can be read; the first error: {unread[0]}"
        )
    return Measures(unread, {key: np.array(column) for key, column in values.items()})


def _measure_clip(
    config: ConfigDict, clip: CentreClip, mask_fns: Mapping[str, Callable], keys: Array
) -> dict[tuple[str, str], float]:
    """The measures of a clip by strategy and name, as in `Measures`."""
    motion, valid = guiding_motion(config, clip), clip.batch["motion_valid"][0]
    lengths = statistics.magnitude(motion, valid)
    inside, sides = None, (np.nan, np.nan)
    if clip.boxes is not None:
        inside = statistics.inside_boxes(clip.boxes, config.data.size)
        sides = statistics.motion_inside_and_outside(lengths, inside)
    found = {("", INSIDE): sides[0], ("", OUTSIDE): sides[1]}
    for strategy, mask_fn in mask_fns.items():
        masks = np.asarray(mask_fn(clip.batch, keys))[:, 0]
        area = np.nan if inside is None else statistics.fraction_covered(inside, masks)
        found[strategy, MOTION] = float(np.mean(statistics.fraction_covered(lengths, masks)))
        found[strategy, BOX_AREA] = float(np.mean(area))
        found[strategy, CONTINUITY] = float(np.mean(statistics.temporal_continuity(masks)))
    return found


def to_markdown(measures: Measures) -> str:
    """The tables as Markdown.

    Shares are means over clips ± their standard error, in percent, followed by the mean difference
    to the first strategy in percentage points.
    """
    num_clips = len(next(iter(measures.values.values())))
    lines = [
        f"- clips: {num_clips}",
        f"- videos that could not be read: {len(measures.unread)}",
    ]
    motions, strategies = (list(dict.fromkeys(key[i] for key in measures.values)) for i in (0, 1))
    any_boxes = any(np.isfinite(measures.values[name, "", INSIDE]).any() for name in motions)
    if any_boxes:
        lines += ["", *_saliency_table(measures, motions)]
    lines += ["", *_mask_table(measures, motions, strategies[1:], any_boxes)]
    return "\n".join(lines) + "\n"


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(map(str, line))} |" for line in lines]


def _saliency_table(measures: Measures, motions: Sequence[str]) -> list[str]:
    rows = []
    for name in motions:
        inside, outside = (measures.values[name, "", side] for side in (INSIDE, OUTSIDE))
        both = np.isfinite(inside) & np.isfinite(outside)
        ratios = inside[both & (outside > 0)] / outside[both & (outside > 0)]
        means = (inside[both].mean(), outside[both].mean())
        values = (statistics.saliency_score(inside, outside), np.median(ratios), *means)
        rows.append([name, *(f"{value:.2f}" for value in values), both.sum()])
    columns = ["saliency score r", "median of the clips' r", "inside, px", "outside, px", "clips"]
    return _table(["motion", *columns], rows)


def _mask_table(
    measures: Measures, motions: Sequence[str], strategies: Sequence[str], any_boxes: bool
) -> list[str]:
    shown, first = [MOTION, BOX_AREA] if any_boxes else [MOTION], strategies[0]
    rows = []
    for motion, strategy in itertools.product(motions, strategies):
        cells = []
        for column in shown:
            values = measures.values[motion, strategy, column]
            # Differences within a clip have a much smaller error than the means.
            difference = values - measures.values[motion, first, column]
            cells.append(f"{_percent(values)} %")
            cells.append("" if strategy == first else _percent(difference, "+"))
        continuity = _percent(measures.values[motion, strategy, CONTINUITY])
        rows.append([motion, strategy, *cells, f"{continuity} %"])
    columns = [column for name in shown for column in (name, f"minus {first}'s")]
    return _table(["motion", "strategy", *columns, CONTINUITY], rows)


def _percent(values: Float[np.ndarray, " clips"], sign: str = "") -> str:
    mean, error = statistics.mean_and_error(values)
    return f"{100 * mean:{sign}.1f} ± {100 * error:.1f}"


def _define_flags() -> None:
    config_flags.DEFINE_config_file("config", None, "Recipe.")
    flags.DEFINE_string("boxes", None, "Zip of J-HMDB's person boxes.")
    flags.DEFINE_list("strategies", ["all"], "Strategies; 'all', 'variants' stand for several.")
    flags.DEFINE_list("motions", ["codec", "median"], "Sources of motion.")
    flags.DEFINE_integer("num_clips", None, "Clips, evenly spaced over the videos; else all.", 1)
    flags.DEFINE_integer("num_draws", 8, "Masks drawn for each clip.", lower_bound=1)
    flags.DEFINE_string("out", None, "Folder for the tables.", required=True)
    flags.mark_flag_as_required("config")


def main(_: Sequence[str]) -> None:
    """Measures what the flags ask for."""
    values = flags.FLAGS
    distributed.use_compile_cache()
    config, out = values.config, local_path(values.out, "--out")
    strategies = variants.all_strategies(values.strategies)
    for name, given in (("strategies", strategies), ("motions", values.motions)):
        if not given:
            raise ConfigError(f"--{name} is empty; name some")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    source = open_with_boxes(config.data, values.boxes)
    measures = measure(
        config, source, strategies, values.motions, values.num_clips, values.num_draws
    )
    table = to_markdown(measures)
    (out / "measures.md").write_text(table)
    print(table)
    logging.info("wrote %s", out)


if __name__ == "__main__":
    # Not at import: other commands define flags of the same names.
    _define_flags()
    run_program(main)
