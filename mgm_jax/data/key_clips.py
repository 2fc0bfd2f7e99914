"""Clips around key frames, with the boxes of people in pixels of the clip.

Besides the fields of `clips.LoadTransform.random_map`, and with its leading axis of copies, for at
most k boxes: boxes float32 `[k, 4]` (pixels of the clip, inside it), box_valid bool `[k]` (there is
such a box, and some of it is in the clip), box_seen float32 `[k]` (the share of its area that is in
the clip), actions float32 `[k, classes]`, key_boxes float32 `[k, 4]` (fractions of the frame),
scores float32 `[k]`, num_boxes int32 (how many boxes there are; more than k are left out), and of
the annotation truth_boxes `[k, 4]` (fractions), truth_actions `[k, classes]`, num_truth int32.
"""

import dataclasses

import numpy as np
from ml_collections import ConfigDict

from mgm_jax.data import crops, key_frames
from mgm_jax.data.boxes import check_boxes, crop_boxes
from mgm_jax.data.clip_reader import read_clips
from mgm_jax.data.clips import LoadClip, LoadTransform, LoadViews
from mgm_jax.data.decoding import Video
from mgm_jax.data.film import FilmPart
from mgm_jax.data.key_frames import KeyFrame
from mgm_jax.data.records import UNLABELLED, VideoRecord, VideoSource
from mgm_jax.errors import VideoError


@dataclasses.dataclass(frozen=True)
class _AroundKeyFrames(LoadTransform):
    """What training and testing have in common; a clip has room for `max_boxes`."""

    max_boxes: int = 1

    def blank(self) -> dict[str, np.ndarray]:
        """Zeros in the structure of a video's clips."""
        classes = len(self.source.class_names)
        return super().blank() | blank_boxes(self.copies, self.max_boxes, classes)

    def _read(self, index: int, view: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        spec, record, name = self.spec, self.source[index], self.source.describe(index)
        if record.key is None or record.key.seconds is None:
            opened: Video | FilmPart = Video(record.video, name, spec.allow_damage)
        else:
            reach = spec.clip_frames * spec.stride // 2
            seconds = record.key.seconds
            opened = FilmPart(str(record.video), name, seconds, reach, spec.allow_damage)
            record = dataclasses.replace(
                record, key=dataclasses.replace(record.key, frame=opened.key, fps=opened.fps)
            )
        with opened as video:
            size = (video.height, video.width)
            key = key_frame_of(record, len(self.source.class_names), size, video.num_frames)
            frames = key_frames.frames_around(
                key.frame,
                video.num_frames,
                clip_frames=spec.clip_frames,
                stride=spec.stride,
                fps=key.fps,
            )
            frame_size = crops.scaled_size(*size, spec.host_crop_size)
            chosen = self.choose_crops(rng, *frame_size)
            clips = read_clips(spec, video, record, frames, chosen, frame_size)
        boxes, shown, actions, scores = self._choose_boxes(key, rng)
        fields = blank_boxes(self.copies, self.max_boxes, actions.shape[1])
        n, truths = min(len(boxes), self.max_boxes), min(len(key.boxes), self.max_boxes)
        fields["num_boxes"][:], fields["num_truth"][:] = len(boxes), len(key.boxes)
        for name, values in (("key_boxes", boxes), ("scores", scores), ("actions", actions)):
            fields[name][:, :n] = values[:n]
        for name, values in (("truth_boxes", key.boxes), ("truth_actions", key.actions)):
            fields[name][:, :truths] = values[:truths]
        # To the pixels of each clip, with its crop, resize and flip.
        pixels = np.clip(shown[:n], 0, 1) * np.tile(np.array(size[::-1], np.float32), 2)
        for copy, (crop, flip) in enumerate(zip(clips["source_box"], clips["flip"], strict=True)):
            moved = crop_boxes(pixels[None], crop, bool(flip), spec.size)[0]
            valid = ~np.isnan(moved).any(axis=-1)
            whole, part = ((b[:, 2:] - b[:, :2]).prod(axis=1) for b in (pixels, moved))
            seen = part * (crop[2] * crop[3] / spec.size**2) / np.maximum(whole, 1e-9)
            fields["box_valid"][copy, :n] = valid
            fields["boxes"][copy, :n] = np.where(valid[:, None], moved, 0)
            fields["box_seen"][copy, :n] = np.where(valid, seen, 0)
        return clips | fields

    def _choose_boxes(self, key: KeyFrame, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Boxes, those that the model is given in their place, actions and scores."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class LoadKeyFrames(_AroundKeyFrames, LoadClip):
    """Reads training clips: random crops, and boxes in random order, moved at random.

    Attributes:
        same: See `KeyFrame.with_detected`.
        jitter: See `key_frames.jitter`.
    """

    same: float = 0.9
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    @classmethod
    def from_config(
        cls, config: ConfigDict, source: VideoSource, needs_class: bool = False
    ) -> "LoadKeyFrames":
        """The loader that a run's config.data describes."""
        plain = LoadClip.from_config(config, source)
        given = {field.name: getattr(plain, field.name) for field in dataclasses.fields(plain)}
        own = {"max_boxes": config.max_boxes, "same": config.same_overlap}
        return cls(**given, **own, jitter=tuple(config.box_jitter))

    def _choose_boxes(self, key: KeyFrame, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        boxes, actions = key.with_detected(self.same)
        order = rng.permutation(len(boxes))
        shown = key_frames.jitter(rng, boxes[order], self.jitter)
        return boxes[order], shown, actions[order], np.ones(len(boxes))


@dataclasses.dataclass(frozen=True)
class LoadKeyFrameViews(_AroundKeyFrames, LoadViews):
    """Reads the views of key frames for testing; the detected boxes, if a detector was asked.

    Attributes:
        margin: See `key_frames.widen`.
    """

    margin: tuple[float, float] = (0.0, 0.0)

    def _choose_boxes(self, key: KeyFrame, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        boxes, actions, scores = key.boxes, key.actions, np.ones(len(key.boxes))
        if key.detected is not None and key.scores is not None:
            boxes, scores = key.detected, key.scores
            actions = np.zeros((len(boxes), actions.shape[1]), np.uint8)
        return boxes, key_frames.widen(boxes, self.margin), actions, scores


def key_frame_of(
    record: VideoRecord, num_classes: int, size: tuple[int, int], frames: int
) -> KeyFrame:
    """The key frame of a record; if it has boxes in all frames, the middle one of those with any.

    Everything in these boxes does what the video is labelled with. `size` is that of the frames,
    (height, width), and `frames` their number.

    Raises:
        VideoError: It has neither, or the boxes are of another video.
    """
    if record.key is not None:
        if record.key.frame >= frames:
            raise VideoError(
                f"{record.video_id}: it has no frame {record.key.frame}, its key frame"
            )
        return record.key
    if record.boxes is None or record.label == UNLABELLED:
        raise VideoError(f"{record.video_id}: it has no boxes, or no class; leave it out")
    check_boxes(record.boxes, size, frames, record.video_id)
    shown = np.flatnonzero((~np.isnan(record.boxes)).all(axis=-1).any(axis=-1))
    if not len(shown):
        raise VideoError(f"{record.video_id}: no frame has a box; leave it out")
    frame = int(shown[np.argmin(np.abs(shown - frames // 2))])
    boxes = record.boxes[frame]
    boxes = boxes[~np.isnan(boxes).any(axis=-1)] / np.tile(size[::-1], 2)
    actions = np.zeros((len(boxes), num_classes), np.uint8)
    actions[:, record.label] = 1
    return KeyFrame(frame, np.clip(boxes, 0, 1).astype(np.float32), actions)


def blank_boxes(copies: int, max_boxes: int, classes: int) -> dict[str, np.ndarray]:
    """The fields of boxes, all zero."""
    shape = (copies, max_boxes)
    fields = {name: np.zeros((*shape, 4)) for name in ("boxes", "key_boxes", "truth_boxes")}
    fields |= {name: np.zeros((*shape, classes)) for name in ("actions", "truth_actions")}
    fields |= {name: np.zeros(shape) for name in ("box_seen", "scores")}
    return {
        **{name: array.astype(np.float32) for name, array in fields.items()},
        "box_valid": np.zeros(shape, bool),
        **{name: np.zeros(copies, np.int32) for name in ("num_boxes", "num_truth")},
    }
