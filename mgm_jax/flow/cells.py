"""Resamples flow from any grid to the motion cells of the source frame."""

import numpy as np
from jaxtyping import Float, Float32

from mgm_jax.data.motion.codec_vectors import MOTION_CELL


def cell_means(
    flow: Float[np.ndarray, "*t rows columns 2"],
    *,
    flow_size: tuple[int, int],
    source_size: tuple[int, int],
) -> Float32[np.ndarray, "*t cell_rows cell_columns 2"]:
    """Mean flow over each 8x8 cell of the source frame (*decision*: the area-weighted mean).

    Args:
        flow: (dx, dy) on any grid that divides the frame evenly, for example one value per pixel.
        flow_size: (height, width) of the frame in whose pixels the flow is measured.
        source_size: (height, width) of the source frame.

    Returns:
        (dx, dy) in source pixels. Cells at the right and bottom edge may be smaller than 8x8.
    """
    rows = _area_weights(flow.shape[-3], source_size[0])
    columns = _area_weights(flow.shape[-2], source_size[1])
    means = np.einsum("ir,...rcd->...icd", rows, flow, optimize=True)
    means = np.einsum("jc,...icd->...ijd", columns, means, optimize=True)
    scale = np.divide(source_size, flow_size)[::-1]
    return (means * scale).astype(np.float32)


def _area_weights(values: int, length: int) -> Float[np.ndarray, "cells {values}"]:
    """Fraction of each cell that each value covers, along an axis of `length` source pixels."""
    edges = np.arange(values + 1) * (length / values)
    starts = np.arange(0, length, MOTION_CELL)[:, None]
    ends = np.minimum(starts + MOTION_CELL, length)
    overlaps = np.minimum(ends, edges[1:]) - np.maximum(starts, edges[:-1])
    return np.maximum(overlaps, 0) / (ends - starts)
