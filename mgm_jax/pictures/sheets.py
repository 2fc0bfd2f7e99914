"""Pictures of one clip: what moved, what was hidden, what the model made of it."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, UInt8

from mgm_jax.pictures import mask_overlays
from mgm_jax.pictures.clip_rows import PictureClip, to_uint8
from mgm_jax.pictures.layout import Row, panels, resize, sheet, tile_size

VISIBLE_STATISTICS = "mean, variance of visible tubelets"
PREDICTED_PIXELS = "pixels as predicted"


def reconstruction_sheet(
    frames: Float[np.ndarray, "T H W 3"] | UInt8[np.ndarray, "T H W 3"],
    motion: Float[np.ndarray, "T mh mw 2"],
    motion_valid: Bool[np.ndarray, " T"],
    mask: Bool[np.ndarray, "t h w"],
    reconstruction: Float[np.ndarray, "T H W 3"],
    *,
    clip_id: str,
    strategy: str,
    step: int | None = None,
    reconstruction_note: str = VISIBLE_STATISTICS,
    leaky_reconstruction: Float[np.ndarray, "T H W 3"] | None = None,
    boxes: Float[np.ndarray, "T k 4"] | None = None,
) -> UInt8[np.ndarray, "height width 3"]:
    """One clip as a table: frames, motion, mask, visible input, reconstruction.

    Columns are the steps of the token grid; each shows the first frame of its tubelets and, per
    cell, the longest of their motion vectors, as the mask saw it.

    Args:
        frames: RGB, float in [0, 1] or uint8.
        motion: Displacements (dx, dy), pixels of the frames.
        motion_valid: Frames that have a motion map.
        mask: True = masked.
        reconstruction: RGB in [0, 1], as `reconstruction.denormalise` gives it by default; its
            visible tubelets are replaced by the input.
        clip_id: First line of the sheet.
        strategy: Name of the masking strategy, for the second line.
        step: Training step of the model, for the second line.
        reconstruction_note: Beside the reconstruction: where its colours come from.
        leaky_reconstruction: The same from `denormalise(statistics="target")`, drawn in a row that
            says so.
        boxes: (x1, y1, x2, y2) of k things in each frame, pixels of the frames; one with NaN is
            not drawn.

    Returns:
        RGB on white, 1000 to 1800 pixels wide for common clips.

    Raises:
        ValueError: If the arrays do not belong together; the message names the one that is off.
    """
    clip = PictureClip.of(frames, motion, motion_valid, boxes, {"mask": mask})
    made = _reconstructions(clip, reconstruction, leaky_reconstruction)
    size = tile_size(clip.frames.shape[1:3], mask.shape[1:], len(mask))
    made = {name: pictures[clip.first_frames(len(mask))] for name, pictures in made.items()}
    rows = _reconstruction_rows(clip.per_step(len(mask)), mask, made, size, reconstruction_note)
    return sheet(rows, clip.column_labels(len(mask)), clip_id, _summary(strategy, mask, step))


def reconstruction_animation(
    frames: Float[np.ndarray, "T H W 3"] | UInt8[np.ndarray, "T H W 3"],
    motion: Float[np.ndarray, "T mh mw 2"],
    motion_valid: Bool[np.ndarray, " T"],
    mask: Bool[np.ndarray, "t h w"],
    reconstruction: Float[np.ndarray, "T H W 3"],
    *,
    clip_id: str,
    strategy: str,
    step: int | None = None,
    reconstruction_note: str = VISIBLE_STATISTICS,
    leaky_reconstruction: Float[np.ndarray, "T H W 3"] | None = None,
    boxes: Float[np.ndarray, "T k 4"] | None = None,
) -> UInt8[np.ndarray, "T height width 3"]:
    """The rows of `reconstruction_sheet` side by side, over all frames.

    Args:
        frames: As for `reconstruction_sheet`, and so are all others.
        motion: Shown frame by frame.
        motion_valid: Frames that have a motion map.
        mask: True = masked.
        reconstruction: RGB in [0, 1].
        clip_id: First line.
        strategy: Name of the masking strategy.
        step: Training step of the model.
        reconstruction_note: Beside the reconstruction: where its colours come from.
        leaky_reconstruction: Drawn in a panel that says so.
        boxes: (x1, y1, x2, y2), pixels of the frames.

    Returns:
        RGB on white, one picture per frame; for `picture_files.save_animation`.

    Raises:
        ValueError: If the arrays do not belong together; the message names the one that is off.
    """
    clip = PictureClip.of(frames, motion, motion_valid, boxes, {"mask": mask})
    made = _reconstructions(clip, reconstruction, leaky_reconstruction)
    size = tile_size(clip.frames.shape[1:3], mask.shape[1:], columns=5)
    rows = _reconstruction_rows(clip, mask, made, size, reconstruction_note)
    return panels(rows, clip_id, _summary(strategy, mask, step))


def mask_sheet(
    frames: Float[np.ndarray, "T H W 3"] | UInt8[np.ndarray, "T H W 3"],
    motion: Float[np.ndarray, "T mh mw 2"],
    motion_valid: Bool[np.ndarray, " T"],
    masks: Mapping[str, Bool[np.ndarray, "t h w"]],
    *,
    clip_id: str,
    boxes: Float[np.ndarray, "T k 4"] | None = None,
) -> UInt8[np.ndarray, "height width 3"]:
    """Masking strategies on one clip (Figure 4): frames, motion, then a row per strategy.

    Args:
        frames: RGB, float in [0, 1] or uint8.
        motion: Displacements (dx, dy), pixels of the frames.
        motion_valid: Frames that have a motion map.
        masks: Masks by the strategy's name, from top to bottom, on one grid; True = masked.
        clip_id: First line of the sheet.
        boxes: (x1, y1, x2, y2) of k things in each frame, pixels of the frames, drawn over
            frames, motion and masks; one with NaN is not drawn.

    Returns:
        RGB on white.

    Raises:
        ValueError: If the arrays do not belong together; the message names the one that is off.
    """
    clip = PictureClip.of(frames, motion, motion_valid, boxes, masks)
    grid = next(iter(masks.values())).shape
    size = tile_size(clip.frames.shape[1:3], grid[1:], grid[0])
    rows = _mask_rows(clip.per_step(grid[0]), masks, size)
    return sheet(rows, clip.column_labels(grid[0]), clip_id, "masking strategies")


def mask_animation(
    frames: Float[np.ndarray, "T H W 3"] | UInt8[np.ndarray, "T H W 3"],
    motion: Float[np.ndarray, "T mh mw 2"],
    motion_valid: Bool[np.ndarray, " T"],
    masks: Mapping[str, Bool[np.ndarray, "t h w"]],
    *,
    clip_id: str,
    boxes: Float[np.ndarray, "T k 4"] | None = None,
) -> UInt8[np.ndarray, "T height width 3"]:
    """The rows of `mask_sheet` as panels, over all frames.

    Args:
        frames: As for `mask_sheet`, and so are all others.
        motion: Shown frame by frame.
        motion_valid: Frames that have a motion map.
        masks: Masks by the strategy's name; True = masked.
        clip_id: First line.
        boxes: (x1, y1, x2, y2), pixels of the frames.

    Returns:
        RGB on white, one picture per frame; for `picture_files.save_animation`.

    Raises:
        ValueError: If the arrays do not belong together; the message names the one that is off.
    """
    clip = PictureClip.of(frames, motion, motion_valid, boxes, masks)
    grid = next(iter(masks.values())).shape
    size = tile_size(clip.frames.shape[1:3], grid[1:], columns=5)
    return panels(_mask_rows(clip, masks, size), clip_id, "masking strategies")


def _reconstruction_rows(
    clip: PictureClip,
    mask: np.ndarray,
    made: Mapping[str, np.ndarray],
    size: tuple[int, int],
    note: str,
) -> list[Row]:
    frames = resize(clip.frames, size)
    overlay = clip.with_boxes(mask_overlays.mask_overlay(frames, mask))
    details = {
        "reconstruction": note,
        "leaky reconstruction": "uses the target's mean and variance",
    }
    return [
        *clip.rows(size),
        Row("mask", overlay, f"{mask.mean():.1%} hidden"),
        Row("visible input", mask_overlays.visible_input(frames, mask)),
        *(
            Row(
                name,
                mask_overlays.paste_visible(resize(pictures, size), frames, mask),
                details[name],
            )
            for name, pictures in made.items()
        ),
    ]


def _mask_rows(
    clip: PictureClip, masks: Mapping[str, np.ndarray], size: tuple[int, int]
) -> list[Row]:
    frames = resize(clip.frames, size)
    rows = [
        Row(name, clip.with_boxes(mask_overlays.mask_overlay(frames, mask)), f"{mask.mean():.1%}")
        for name, mask in masks.items()
    ]
    return clip.rows(size) + rows


def _reconstructions(
    clip: PictureClip, reconstruction: np.ndarray, leaky_reconstruction: np.ndarray | None
) -> dict[str, np.ndarray]:
    made = {"reconstruction": reconstruction}
    if leaky_reconstruction is not None:
        made["leaky reconstruction"] = leaky_reconstruction
    for name, pictures in made.items():
        if pictures.shape != clip.frames.shape:
            raise ValueError(
                f"{name} has shape {pictures.shape}, expected the frames' {clip.frames.shape}"
            )
    return {name: to_uint8(name, pictures) for name, pictures in made.items()}


def _summary(strategy: str, mask: np.ndarray, step: int | None) -> str:
    parts = [strategy, f"mask ratio {mask.mean():.3g}"]
    return " · ".join(parts if step is None else [*parts, f"step {step:,}"])
