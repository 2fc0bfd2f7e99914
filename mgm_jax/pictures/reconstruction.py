"""From the model's normalised predictions back to pixels that can be looked at."""

from typing import Literal

import numpy as np
from jaxtyping import Float, Integer, UInt8

# The same as in the target of the loss: (x - mean) / (standard deviation + EPSILON).
EPSILON = 1e-6


def denormalise(
    predictions: Float[np.ndarray, "n_masked patch_dim"],
    masked_ids: Integer[np.ndarray, " n_masked"],
    frames: Float[np.ndarray, "T H W 3"] | UInt8[np.ndarray, "T H W 3"],
    tubelet: tuple[int, int, int] = (2, 16, 16),
    *,
    statistics: Literal["visible", "target"] = "visible",
    time_distance: float = 0.5,
    power: float = 4.0,
) -> Float[np.ndarray, "T H W 3"]:
    """Pixels of one clip: visible tubelets from the input, masked ones from the model.

    The model predicts each tubelet with its own mean and standard deviation per channel taken
    out, so a picture needs them from somewhere. Taking them from the target, as is common, shows
    the viewer what the model never saw: the colour of every hidden tubelet. By default they are
    interpolated from the visible tubelets of the same clip, by inverse-distance weights over the
    token grid; no masked pixel is read (decision of this project).

    Args:
        predictions: Normalised pixels, flattened in the order (p0 p1 p2 c).
        masked_ids: Their positions in the time-major token grid; all other tokens are visible.
        frames: The clip, RGB, float in [0, 1] or uint8.
        tubelet: (frames, rows, columns) of a tubelet, pixels.
        statistics: "visible" interpolates; "target" uses the target's mean and variance, which
            leaks them into the picture.
        time_distance: Length of one step of the token grid in time, in steps in space. Short, for
            the same place a moment earlier is a better guide than a place nearby (decision).
        power: Weights fall with this power of the distance (decision).

    Returns:
        float32 RGB, clipped to [0, 1].

    Raises:
        ValueError: If shapes do not fit, ids repeat or leave the grid, or nothing is visible.
    """
    grid = _grid(frames.shape, tubelet)
    masked = _masked(predictions, masked_ids, grid, tubelet)
    if statistics not in ("visible", "target"):
        raise ValueError(f"statistics is {statistics!r}; choose 'visible' or 'target'")

    patches = _patchify(frames, grid, tubelet)
    sources = patches[masked if statistics == "target" else ~masked].astype(np.float64)
    mean, deviation = sources.mean(axis=1), sources.std(axis=1, ddof=1)
    if statistics == "visible":
        if masked.all():
            raise ValueError("masked_ids hold every token: none is visible to take colours from")
        weights = _inverse_distance_weights(masked, grid, time_distance, power)
        mean, deviation = weights @ mean, weights @ deviation

    normalised = _pixels_in_order(predictions, masked_ids)
    patches[masked] = normalised * (deviation[:, None] + EPSILON) + mean[:, None]
    return np.clip(_unpatchify(patches, grid, tubelet), 0.0, 1.0)


def paste_pixels(
    predictions: Float[np.ndarray, "n_masked patch_dim"],
    masked_ids: Integer[np.ndarray, " n_masked"],
    frames: Float[np.ndarray, "T H W 3"] | UInt8[np.ndarray, "T H W 3"],
    tubelet: tuple[int, int, int] = (2, 16, 16),
) -> Float[np.ndarray, "T H W 3"]:
    """Pixels of one clip where the model predicts RGB itself, which needs no statistics.

    Args:
        predictions: RGB in [0, 1], flattened in the order (p0 p1 p2 c).
        masked_ids: Their positions in the time-major token grid; all other tokens are visible.
        frames: The clip, RGB, float in [0, 1] or uint8.
        tubelet: (frames, rows, columns) of a tubelet, pixels.

    Returns:
        float32 RGB, clipped to [0, 1].

    Raises:
        ValueError: If shapes do not fit, or ids repeat or leave the grid.
    """
    grid = _grid(frames.shape, tubelet)
    masked = _masked(predictions, masked_ids, grid, tubelet)
    patches = _patchify(frames, grid, tubelet)
    patches[masked] = _pixels_in_order(predictions, masked_ids)
    return np.clip(_unpatchify(patches, grid, tubelet), 0.0, 1.0)


def _pixels_in_order(predictions: np.ndarray, masked_ids: np.ndarray) -> np.ndarray:
    order = np.argsort(masked_ids)
    return predictions[order].reshape(len(predictions), -1, 3).astype(np.float64)


def _grid(shape: tuple[int, ...], tubelet: tuple[int, int, int]) -> tuple[int, int, int]:
    if len(shape) != 4 or shape[3] != 3 or any(n % p for n, p in zip(shape, tubelet, strict=False)):
        raise ValueError(
            f"frames have shape {shape}, which tubelets of {tubelet} do not divide; "
            "pass [T, H, W, 3] of whole tubelets"
        )
    return (shape[0] // tubelet[0], shape[1] // tubelet[1], shape[2] // tubelet[2])


def _masked(
    predictions: np.ndarray,
    masked_ids: np.ndarray,
    grid: tuple[int, int, int],
    tubelet: tuple[int, int, int],
) -> np.ndarray:
    expected = (len(masked_ids), int(np.prod(tubelet)) * 3)
    if predictions.shape != expected:
        raise ValueError(
            f"predictions have shape {predictions.shape}, expected {expected}: one row per "
            f"masked_id, {tubelet} pixels in 3 channels each"
        )
    masked = np.zeros(int(np.prod(grid)), bool)
    if len(masked_ids) and not (masked_ids.min() >= 0 and masked_ids.max() < masked.size):
        raise ValueError(f"masked_ids leave 0..{masked.size - 1}, the tokens of the {grid} grid")
    masked[masked_ids] = True
    if masked.sum() != len(masked_ids):
        raise ValueError("masked_ids repeat; pass each masked token once")
    return masked


def _inverse_distance_weights(
    masked: np.ndarray, grid: tuple[int, int, int], time_distance: float, power: float
) -> np.ndarray:
    """Shepard's weights [n_masked, n_visible], rows summing to one."""
    places = np.stack(np.unravel_index(np.arange(masked.size), grid), axis=-1).astype(np.float64)
    places[:, 0] *= time_distance
    difference = places[masked][:, None] - places[~masked][None]
    weights = np.sum(difference**2, axis=-1) ** (-power / 2)
    return weights / weights.sum(axis=1, keepdims=True)


def _patchify(
    frames: np.ndarray, grid: tuple[int, int, int], tubelet: tuple[int, int, int]
) -> np.ndarray:
    """Frames as float32 tubelets [tokens, pixels, 3], a copy."""
    unit = frames.astype(np.float32) / (255 if frames.dtype == np.uint8 else 1)
    (t, h, w), (p0, p1, p2) = grid, tubelet
    split = unit.reshape(t, p0, h, p1, w, p2, 3).transpose(0, 2, 4, 1, 3, 5, 6)
    return split.reshape(t * h * w, p0 * p1 * p2, 3)


def _unpatchify(
    patches: np.ndarray, grid: tuple[int, int, int], tubelet: tuple[int, int, int]
) -> np.ndarray:
    (t, h, w), (p0, p1, p2) = grid, tubelet
    split = patches.reshape(t, h, w, p0, p1, p2, 3).transpose(0, 3, 1, 4, 2, 5, 6)
    return split.reshape(t * p0, h * p1, w * p2, 3)
