"""Reads frames of a video and cuts clips of fixed shape out of them, with their motion."""

import dataclasses

import numpy as np
from jaxtyping import Int, UInt8
from ml_collections import ConfigDict

from mgm_jax.data import crops as geometry
from mgm_jax.data.motion import flow_files
from mgm_jax.data.video.reader import Video
from mgm_jax.data.video_records import UNLABELLED, VideoRecord
from mgm_jax.errors import VideoError


@dataclasses.dataclass(frozen=True)
class ClipReader:
    """Reads frames of a video, and cuts and describes clips of them.

    Attributes:
        clip_frames: Frames of the clip, T.
        size: Side of the output clip, pixels.
        window: Side of the luma window that travels to the device, pixels.
        motion: Where motion comes from: `codec`, `estimate`, `auto`, `flow` (files of
            `mgm_jax.flow.precompute`) or `none`.
        flow_path: For `flow`: folder of the files.
    """

    clip_frames: int
    size: int
    window: int
    motion: str = "auto"
    flow_path: str = ""

    def open(self, record: VideoRecord, name: str) -> Video:
        """Opens a video so that what `read` needs of it is there.

        Args:
            record: Its source record.
            name: For messages.

        Returns:
            The video, to be closed.

        Raises:
            VideoError: It cannot be opened.
        """
        return Video(record.video, name=name, with_vectors=self.motion in ("codec", "auto"))

    def read(
        self,
        video: Video,
        record: VideoRecord,
        frames: Int[np.ndarray, " t"],
        crops: list[geometry.Crop],
        frame_size: tuple[int, int],
        *,
        lender_distance: int = 1,
    ) -> dict[str, np.ndarray]:
        """Reads one clip for each crop, of the same frames.

        Args:
            video: The video.
            record: Its source record.
            frames: Numbers of the frames.
            crops: In the frame of `frame_size`.
            frame_size: (height, width) to which the host scales the frames.
            lender_distance: As in `Video.read`.

        Returns:
            What `LoadClip.random_map` returns, less the fields about the draw.

        Raises:
            VideoError: The frames or their motion cannot be read.
        """
        source_size = (video.height, video.width)
        regions = [geometry.window_region(crop, self.window) for crop in crops]
        from_file = self.motion == "flow"
        decoded = video.read(
            frames,
            size=None if frame_size == source_size else frame_size,
            region=regions[0] if len(regions) == 1 else None,
            motion="none" if from_file else self.motion,
            lender_distance=lender_distance,
        )
        motion, valid = decoded.motion, decoded.motion_valid
        if from_file:
            path = flow_files.sidecar_path(self.flow_path, record.video_id)
            motion, valid = flow_files.read_sidecar(path, frames)
            if not np.isfinite(motion).all():
                raise VideoError(f"{video.name}: its motion is not finite; make its flow again")
        if len(crops) == 1:
            planes = [(decoded.luma, decoded.chroma)]
        else:
            planes = [cut_planes(decoded.luma, decoded.chroma, region) for region in regions]
        source_per_frame = np.tile(np.divide(source_size, frame_size), 2)
        sides = [(crop.top, crop.left, crop.height, crop.width) for crop in crops]
        origins = [(*region[:2], 0, 0) for region in regions]
        copies = len(crops)
        return {
            "luma": _stack([luma for luma, _ in planes]),
            "chroma": _stack([chroma for _, chroma in planes]),
            "crop_box": np.subtract(sides, origins).astype(np.float32),
            "flip": np.array([crop.flip for crop in crops], bool),
            "yuv_to_rgb": np.repeat(decoded.yuv_to_rgb[None].astype(np.float32), copies, axis=0),
            "motion": np.stack(
                [
                    geometry.crop_motion(
                        motion,
                        crop,
                        source_size=source_size,
                        frame_size=frame_size,
                        size=self.size,
                    )
                    for crop in crops
                ]
            ),
            "motion_valid": np.repeat(valid[None], copies, axis=0),
            "label": np.full(copies, record.label, np.int32),
            "frames": np.repeat(frames[None].astype(np.int32), copies, axis=0),
            "source_box": (sides * source_per_frame).astype(np.float32),
        }

    def blank(self, copies: int) -> dict[str, np.ndarray]:
        """Zeros in the structure of `read`."""
        frames, half, cells = self.clip_frames, self.window // 2, self.size // geometry.MOTION_CELL
        whole = np.array([[0, 0, self.window, self.window]], np.float32).repeat(copies, axis=0)
        return {
            "luma": np.zeros((copies, frames, self.window, self.window), np.uint8),
            "chroma": np.zeros((copies, frames, half, half, 2), np.uint8),
            "crop_box": whole,
            "flip": np.zeros(copies, bool),
            "yuv_to_rgb": np.zeros((copies, 3, 4), np.float32),
            "motion": np.zeros((copies, frames, cells, cells, 2), np.float32),
            "motion_valid": np.zeros((copies, frames), bool),
            "label": np.full(copies, UNLABELLED, np.int32),
            "frames": np.zeros((copies, frames), np.int32),
            "source_box": whole,
        }


def _stack(planes: list[np.ndarray]) -> np.ndarray:
    """As np.stack, without copying what is alone."""
    return planes[0][None] if len(planes) == 1 else np.stack(planes)


def cut_planes(
    luma: UInt8[np.ndarray, "t h w"],
    chroma: UInt8[np.ndarray, "t h2 w2 2"],
    region: tuple[int, int, int, int],
) -> tuple[UInt8[np.ndarray, "t height width"], UInt8[np.ndarray, "t half_h half_w 2"]]:
    """Cuts a region out of whole frames.

    Args:
        luma: Y planes.
        chroma: U and V planes.
        region: (top, left, height, width), luma pixels, even.

    Returns:
        The region's luma and chroma, zero where it reaches past the frame.
    """
    top, left, height, width = region
    cut_luma = np.zeros((len(luma), height, width), np.uint8)
    cut_chroma = np.zeros((len(luma), height // 2, width // 2, 2), np.uint8)
    inside = luma[:, top : top + height, left : left + width]
    cut_luma[:, : inside.shape[1], : inside.shape[2]] = inside
    top, left, height, width = (side // 2 for side in region)
    inside = chroma[:, top : top + height, left : left + width]
    cut_chroma[:, : inside.shape[1], : inside.shape[2]] = inside
    return cut_luma, cut_chroma


def make_reader(config: ConfigDict) -> ClipReader:
    """The reader that a config describes.

    Args:
        config: The run's config.data.

    Returns:
        The reader.
    """
    # RAFT on the accelerator works on the clip's pixels; the host has no part in it.
    motion = "none" if config.motion == "raft" else config.motion
    names = ("clip_frames", "size", "flow_path")
    given = {name: config[name] for name in names}
    return ClipReader(motion=motion, window=config.host_crop_size, **given)
