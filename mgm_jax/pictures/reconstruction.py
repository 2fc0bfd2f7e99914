"""Turns a model's predictions into frames."""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Integer

# *Decision*: weights fall with the fourth power of the distance, and a step to the next tubelet in
# time counts as half a step in space, because the same place a moment earlier is a better guide.
_POWER, _TIME_DISTANCE = 4.0, 0.5


Statistics = Literal["visible", "target", "none"]


def to_frames(
    predictions: Float[np.ndarray, "n_masked 3 pixels"],
    masked_ids: Integer[np.ndarray, " n_masked"],
    frames: Float[np.ndarray, "T H W 3"],
    tubelet: tuple[int, int, int],
    statistics: Statistics,
    eps: float = 1e-6,
) -> Float[np.ndarray, "T H W 3"]:
    """Frames of one clip: visible tubelets from the input, masked ones from the model.

    With `norm_pix_loss` the model predicts tubelets normalised by their own mean and standard
    deviation per channel. *Decision*: they are un-normalised with the statistics of the visible
    tubelets, interpolated by inverse-distance weights over the token grid. The target's own
    statistics, which other projects use, would show colours that the model did not predict.

    Args:
        predictions: Pixels of each channel in the order (frame, row, column).
        masked_ids: Their positions in the time-major token grid; all other tokens are visible, at
            least one.
        frames: The clip, RGB in [0, 1].
        tubelet: (frames, rows, columns) in pixels; they divide the frames.
        statistics: Un-normalise with those of the visible tubelets or of the target; "none": the
            predictions are RGB in [0, 1].
        eps: Of the target, see `losses.pixel_target`.

    Returns:
        RGB in [0, 1].
    """
    grid = tuple(n // p for n, p in zip(frames.shape[:3], tubelet, strict=True))
    positions = _pixels_of_tokens(grid, tubelet)
    pixels = frames.astype(np.float32).reshape(-1, 3)
    masked = np.zeros(len(positions), bool)
    masked[masked_ids] = True
    made = predictions[np.argsort(masked_ids)].swapaxes(1, 2)
    if statistics != "none":
        chosen = masked if statistics == "target" else ~masked
        sources = pixels[positions[chosen]].astype(np.float64)
        mean, deviation = sources.mean(axis=1), sources.std(axis=1, ddof=1)
        if statistics == "visible":
            weights = _inverse_distance_weights(masked, grid)
            mean, deviation = weights @ mean, weights @ deviation
        made = made * (deviation[:, None] + eps) + mean[:, None]
    pixels[positions[masked]] = made
    return np.clip(pixels.reshape(frames.shape), 0.0, 1.0)


def _inverse_distance_weights(
    masked: Bool[np.ndarray, " tokens"], grid: tuple[int, ...]
) -> Float[np.ndarray, "n_masked n_visible"]:
    """Shepard's weights; each row sums to one."""
    places = np.stack(np.unravel_index(np.arange(masked.size), grid), axis=-1).astype(np.float64)
    places[:, 0] *= _TIME_DISTANCE
    difference = places[masked][:, None] - places[~masked][None]
    weights = np.sum(difference**2, axis=-1) ** (-_POWER / 2)
    return weights / weights.sum(axis=1, keepdims=True)


def _pixels_of_tokens(
    grid: tuple[int, ...], tubelet: tuple[int, int, int]
) -> Integer[np.ndarray, "tokens pixels"]:
    """Positions of each token's pixels in the flattened frames."""
    (t, h, w), (p0, p1, p2) = grid, tubelet
    positions = np.arange(t * p0 * h * p1 * w * p2).reshape(t, p0, h, p1, w, p2)
    return positions.transpose(0, 2, 4, 1, 3, 5).reshape(t * h * w, p0 * p1 * p2)
