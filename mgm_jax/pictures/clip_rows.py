"""The arrays that every picture of a clip starts from, checked against each other."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, UInt8

from mgm_jax.pictures import mask_overlays, motion_colours
from mgm_jax.pictures.layout import LEGEND_SIZE, Row, resize

_BOX_ON_WHITE = (70, 70, 74)


@dataclasses.dataclass(frozen=True)
class PictureClip:
    """Frames, motion and boxes of one clip, or of one frame per tubelet of it.

    Attributes:
        frames: RGB.
        motion: Displacements (dx, dy), pixels of the frames.
        motion_valid: Frames that have a motion map.
        boxes: (x1, y1, x2, y2) of k things, pixels of the frames; one with NaN is not drawn.
        scale: Length of motion that gets the full colour, pixels.
    """

    frames: UInt8[np.ndarray, "n H W 3"]
    motion: Float[np.ndarray, "n mh mw 2"]
    motion_valid: Bool[np.ndarray, " n"]
    boxes: Float[np.ndarray, "n k 4"] | None
    scale: float

    @classmethod
    def of(
        cls,
        frames: np.ndarray,
        motion: np.ndarray,
        motion_valid: np.ndarray,
        boxes: np.ndarray | None,
        masks: Mapping[str, np.ndarray],
    ) -> "PictureClip":
        """Checks the arrays of a whole clip against each other and against its masks.

        Args:
            frames: RGB, float in [0, 1] or uint8, [T, H, W, 3].
            motion: [T, mh, mw, 2].
            motion_valid: bool [T].
            boxes: [T, k, 4] or None.
            masks: Masks [t, h, w] by name, all on one grid that divides the frames.

        Returns:
            The clip, its frames as uint8, its scale fitted to its motion.

        Raises:
            ValueError: If they do not belong together; the message names the one that is off.
        """
        if frames.ndim != 4 or frames.shape[3] != 3:
            raise ValueError(f"frames have shape {frames.shape}, expected [T, H, W, 3]")
        length = len(frames)
        if motion.ndim != 4 or len(motion) != length or motion.shape[3] != 2:
            raise ValueError(
                f"motion has shape {motion.shape}, expected ({length}, mh, mw, 2): one map (dx, dy)"
                " per frame"
            )
        if motion_valid.shape != (length,) or motion_valid.dtype != bool:
            raise ValueError(
                f"motion_valid is {motion_valid.dtype} {motion_valid.shape}, expected bool "
                f"({length},): one per frame"
            )
        if not np.isfinite(motion[motion_valid]).all():
            raise ValueError("motion holds NaN or infinity in frames that motion_valid marks valid")
        if boxes is not None and (boxes.ndim != 3 or boxes.shape[::2] != (length, 4)):
            raise ValueError(
                f"boxes have shape {boxes.shape}, expected ({length}, k, 4): k for each frame"
            )
        if not masks:
            raise ValueError("masks are empty; pass one at least, by its strategy's name")
        grid = next(iter(masks.values())).shape
        for name, mask in masks.items():
            if mask.dtype != bool or mask.shape != grid or mask.ndim != 3:
                raise ValueError(
                    f"{name!r} is {mask.dtype} {mask.shape}, expected bool [t, h, w], the same for"
                    " all masks, True = masked"
                )
            mask_overlays.mask_per_pixel(mask, frames.shape[:3])
        scale = motion_colours.motion_scale(motion, motion_valid)
        return cls(to_uint8("frames", frames), motion, motion_valid, boxes, scale)

    def first_frames(self, steps: int) -> slice:
        """Where the first frames of that many tubelets stand."""
        return slice(None, None, len(self.frames) // steps)

    def column_labels(self, steps: int) -> list[str]:
        """Headings for sheets of `per_step`."""
        return [f"frame {i}" for i in range(len(self.frames))[self.first_frames(steps)]]

    def per_step(self, steps: int) -> "PictureClip":
        """First frames of the tubelets, with the longest vector of each cell."""
        motion = np.where(self.motion_valid[:, None, None, None], self.motion, 0)
        motion = motion.reshape(steps, -1, *motion.shape[1:])
        longest = np.linalg.norm(motion, axis=-1).argmax(axis=1)[:, None, :, :, None]
        first = self.first_frames(steps)
        return dataclasses.replace(
            self,
            frames=self.frames[first],
            motion=np.take_along_axis(motion, longest, axis=1)[:, 0],
            motion_valid=self.motion_valid.reshape(steps, -1).any(axis=1),
            boxes=None if self.boxes is None else self.boxes[first],
        )

    def with_boxes(
        self,
        pictures: UInt8[np.ndarray, "n height width 3"],
        colour: tuple[int, int, int] = mask_overlays.BOX,
    ) -> UInt8[np.ndarray, "n height width 3"]:
        """The boxes, scaled along, over resized frames or motion maps."""
        if self.boxes is None:
            return pictures
        vertical = pictures.shape[1] / self.frames.shape[1]
        horizontal = pictures.shape[2] / self.frames.shape[2]
        scaled = self.boxes * np.array([horizontal, vertical, horizontal, vertical])
        return mask_overlays.draw_boxes(pictures, scaled, colour)

    def rows(self, size: tuple[int, int]) -> list[Row]:
        """The rows that every picture begins with, at (height, width): frames and motion."""
        moved = motion_colours.motion_pictures(self.motion, self.motion_valid, size, self.scale)
        wheel = motion_colours.colour_wheel(LEGEND_SIZE)
        return [
            Row("frames", self.with_boxes(resize(self.frames, size))),
            Row(
                "motion",
                self.with_boxes(moved, _BOX_ON_WHITE),
                legend=(wheel, f"{self.scale:g} px"),
            ),
        ]


def to_uint8(
    name: str, frames: Float[np.ndarray, "*shape"] | UInt8[np.ndarray, "*shape"]
) -> UInt8[np.ndarray, "*shape"]:
    """Pictures as bytes.

    Args:
        name: For the message.
        frames: Float in [0, 1], a little more or less is clipped; or uint8, returned as it is.

    Returns:
        0 to 255.

    Raises:
        ValueError: If the values are far outside [0, 1] or not numbers.
    """
    if frames.dtype == np.uint8:
        return frames
    low, high = float(frames.min()), float(frames.max())
    if not (low > -0.5 and high < 1.5):
        raise ValueError(
            f"{name}: values reach from {low:.3g} to {high:.3g}; pass float in [0, 1] or uint8"
        )
    return np.round(np.clip(frames, 0, 1) * 255).astype(np.uint8)
