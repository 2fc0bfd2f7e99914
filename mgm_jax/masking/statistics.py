"""Measures by which to judge a mask and the motion that guides it.

All are of one clip of `[T, size, size]` pixels, pure, and in numpy. Motion comes as its magnitude
per frame and 8x8 motion cell, boxes as `mgm_jax.data.boxes` has them in the clip's pixels, masks
on the token grid with True = masked. Where a measure has no value, it is NaN. A random mask of
ratio γ has γ as its expected share of everything.
"""

import numpy as np
from jaxtyping import Bool, Float, Shaped


def magnitude(
    motion: Float[np.ndarray, "T mh mw 2"], motion_valid: Bool[np.ndarray, " T"]
) -> Float[np.ndarray, "T mh mw"]:
    """Length of the motion vectors, in pixels.

    Args:
        motion: Displacements (dx, dy), pixels.
        motion_valid: Frames whose motion is known.

    Returns:
        The lengths; NaN in frames whose motion is not known.
    """
    lengths = np.linalg.norm(motion.astype(np.float64), axis=-1)
    return np.where(motion_valid[:, None, None], lengths, np.nan)


def inside_boxes(boxes: Float[np.ndarray, "T k 4"], size: int) -> Bool[np.ndarray, "T size size"]:
    """The pixels whose centre lies in at least one box.

    Args:
        boxes: x1, y1, x2, y2 in pixels; NaN where one is absent.
        size: Side of the clip, pixels.

    Returns:
        True inside.
    """
    centres = np.arange(size) + 0.5
    left, top, right, bottom = np.moveaxis(boxes, -1, 0)[..., None]
    columns = (left <= centres) & (centres < right)
    rows = (top <= centres) & (centres < bottom)
    return (rows[:, :, :, None] & columns[:, :, None, :]).any(axis=1)


def motion_inside_and_outside(
    lengths: Float[np.ndarray, "T mh mw"], inside: Bool[np.ndarray, "T H W"]
) -> tuple[float, float]:
    """Mean motion inside and outside the boxes: r_bbox and r_non_bbox of the paper's section 1.

    Means are over the area of the frames that have both motion and a box; a motion cell that an
    edge cuts counts on both sides, by its area.

    Args:
        lengths: Motion magnitude, as `magnitude` gives it.
        inside: Pixels in boxes, as `inside_boxes` gives them.

    Returns:
        (inside, outside) in pixels; NaN for a side without area.
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

    The paper does not say how it averages over videos. Decision: the ratio of the two means over
    the clips, not the mean of the clips' ratios, which clips with next to no motion outside would
    rule.

    Args:
        inside: Mean motion inside the boxes of each clip.
        outside: The same outside them. A clip with NaN on either side does not count.

    Returns:
        The ratio; above 1, what the boxes hold moves more than the rest.
    """
    both = np.isfinite(inside) & np.isfinite(outside)
    return _ratio(inside[both].sum(), outside[both].sum())


def motion_covered(
    lengths: Float[np.ndarray, "T mh mw"], masks: Bool[np.ndarray, "draws t h w"]
) -> Float[np.ndarray, " draws"]:
    """Share of the clip's motion that a mask hides: sum of lengths under the mask over their sum.

    Measure of this project, for "our mask covers the motion" (sections 1 and 3).

    Args:
        lengths: Motion magnitude, as `magnitude` gives it; frames with NaN do not count.
        masks: True = masked; their grid divides the frames and the motion cells.

    Returns:
        0 to 1 for each mask; NaN without motion.
    """
    return _share_hidden(np.nan_to_num(lengths), masks)


def box_area_covered(
    inside: Bool[np.ndarray, "T H W"], masks: Bool[np.ndarray, "draws t h w"]
) -> Float[np.ndarray, " draws"]:
    """Share of the area inside boxes that a mask hides, over all frames.

    Measure of this project, for "masks the most salient regions" (section 1).

    Args:
        inside: Pixels in boxes, as `inside_boxes` gives them.
        masks: True = masked; their grid divides the clip.

    Returns:
        0 to 1 for each mask; NaN without a box.
    """
    return _share_hidden(inside, masks)


def temporal_continuity(masks: Bool[np.ndarray, "draws t h w"]) -> Float[np.ndarray, " draws"]:
    """How much of a mask stays in place from one step to the next.

    The mean over consecutive steps of the intersection of their masks over their union. Independent
    random cells of ratio γ have γ / (2 - γ): 0.6 at 0.75. Measure of this project, for "temporally
    continuous" masks (section 3, Figure 2).

    Args:
        masks: True = masked, with at least one such token in each pair of steps.

    Returns:
        0 to 1 for each mask; 1 for one that does not move.
    """
    before, after = masks[..., :-1, :, :], masks[..., 1:, :, :]
    union = (before | after).sum(axis=(-2, -1))
    return ((before & after).sum(axis=(-2, -1)) / union).mean(axis=-1)


def mean_and_error(values: Float[np.ndarray, " clips"]) -> tuple[float, float, int]:
    """Mean over clips, its standard error, and how many clips have a value (NaN has none)."""
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return (float(values.mean()) if len(values) else np.nan), np.nan, len(values)
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))), len(values)


def _pooled(
    values: Shaped[np.ndarray, "T H W"], grid: tuple[int, int, int]
) -> Float[np.ndarray, "t h w"]:
    """Sums over the blocks of a coarser grid."""
    t, h, w = grid
    frames, height, width = values.shape
    blocks = values.reshape(t, frames // t, h, height // h, w, width // w)
    return blocks.sum(axis=(1, 3, 5), dtype=np.float64)


def _share_hidden(
    values: Shaped[np.ndarray, "T H W"], masks: Bool[np.ndarray, "draws t h w"]
) -> Float[np.ndarray, " draws"]:
    per_token = _pooled(values, masks.shape[-3:])
    whole = per_token.sum()
    hidden = (per_token * masks).sum(axis=(-3, -2, -1))
    return hidden / whole if whole > 0 else np.full_like(hidden, np.nan)


def _ratio(part: float | np.number, whole: float | np.number) -> float:
    return float(part / whole) if whole > 0 else float("nan")
