"""Statistics that judge a mask, and the motion that guides it, on one clip; in numpy.

Clips are `[T, size, size]` pixels. Motion is given as its magnitude per frame and 8x8-pixel motion
cell, boxes in pixels as in `mgm_jax.data.boxes`, masks on the token grid with True = masked. An
undefined statistic is NaN. A random mask of ratio γ covers γ of everything on average.
"""

import numpy as np
from jaxtyping import Bool, Float, Shaped


def magnitude(
    motion: Float[np.ndarray, "T mh mw 2"], motion_valid: Bool[np.ndarray, " T"]
) -> Float[np.ndarray, "T mh mw"]:
    """Length of the displacements in pixels; NaN in frames without valid motion."""
    lengths = np.linalg.norm(motion.astype(np.float64), axis=-1)
    return np.where(motion_valid[:, None, None], lengths, np.nan)


def inside_boxes(boxes: Float[np.ndarray, "T k 4"], size: int) -> Bool[np.ndarray, "T size size"]:
    """Marks the pixels whose centre lies in at least one box (x1, y1, x2, y2; NaN if absent)."""
    centres = np.arange(size) + 0.5
    left, top, right, bottom = np.moveaxis(boxes, -1, 0)[..., None]
    columns = (left <= centres) & (centres < right)
    rows = (top <= centres) & (centres < bottom)
    return (rows[:, :, :, None] & columns[:, :, None, :]).any(axis=1)


def motion_inside_and_outside(
    lengths: Float[np.ndarray, "T mh mw"], inside: Bool[np.ndarray, "T H W"]
) -> tuple[float, float]:
    """Mean motion inside and outside the boxes: r_bbox and r_non_bbox of the paper's section 1.

    The means are over the area of all frames that have both motion and a box. A motion cell that a
    box cuts counts on both sides, weighted by area. A side without area is NaN.
    """
    known = inside.any(axis=(1, 2)) & np.isfinite(lengths).all(axis=(1, 2))
    share = (_pooled(inside, lengths.shape) * (lengths.size / inside.size))[known]
    lengths = lengths[known]
    return _ratio((lengths * share).sum(), share.sum()), _ratio(
        (lengths * (1 - share)).sum(), (1 - share).sum()
    )


def saliency_score(
    inside: Float[np.ndarray, " clips"], outside: Float[np.ndarray, " clips"]
) -> float:
    """Saliency score of a dataset: r_bbox / r_non_bbox (section 1: 1.47 on SSv2, 1.28 on K400).

    Above 1, what is inside the boxes moves more than the rest. Clips with NaN on either side are
    left out.

    Decision: the paper does not say how it averages over videos. Here it is the ratio of the means
    over the clips. The mean of the clips' ratios would be dominated by clips with hardly any motion
    outside the boxes.
    """
    both = np.isfinite(inside) & np.isfinite(outside)
    return _ratio(inside[both].sum(), outside[both].sum())


def fraction_covered(
    values: Shaped[np.ndarray, "T H W"], masks: Bool[np.ndarray, "draws t h w"]
) -> Float[np.ndarray, " draws"]:
    """Fraction of a clip's motion, or of the pixels inside its boxes, under each mask; NaN of none.

    Our own statistic for the paper's "our mask covers the motion" (sections 1 and 3) and "masks the
    most salient regions" (section 1). Frames with NaN do not count; the grid of the masks must
    divide that of the values.
    """
    per_token = _pooled(np.nan_to_num(values), masks.shape[-3:])
    whole = per_token.sum()
    masked = (per_token * masks).sum(axis=(-3, -2, -1))
    return masked / whole if whole > 0 else np.full_like(masked, np.nan)


def temporal_continuity(masks: Bool[np.ndarray, "draws t h w"]) -> Float[np.ndarray, " draws"]:
    """Mean intersection over union of the masks of consecutive tubelets; 1 for a static mask.

    Independent random tokens of ratio γ have γ / (2 - γ), or 0.6 at 0.75. Our own statistic for the
    paper's "temporally continuous" masks (section 3, Figure 2).
    """
    before, after = masks[..., :-1, :, :], masks[..., 1:, :, :]
    union = (before | after).sum(axis=(-2, -1))
    return ((before & after).sum(axis=(-2, -1)) / union).mean(axis=-1)


def mean_and_error(values: Float[np.ndarray, " clips"]) -> tuple[float, float]:
    """Mean over the clips with a value (not NaN), and its standard error; NaN of too few clips."""
    values = values[np.isfinite(values)]
    mean = values.mean() if len(values) else np.nan
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return float(mean), float(error)


def _pooled(
    values: Shaped[np.ndarray, "T H W"], grid: tuple[int, int, int]
) -> Float[np.ndarray, "t h w"]:
    """Sums over the blocks of a coarser grid."""
    t, h, w = grid
    frames, height, width = values.shape
    blocks = values.reshape(t, frames // t, h, height // h, w, width // w)
    return blocks.sum(axis=(1, 3, 5), dtype=np.float64)


def _ratio(part: float | np.number, whole: float | np.number) -> float:
    return float(part / whole) if whole > 0 else float("nan")
