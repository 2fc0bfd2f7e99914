"""Key frames of whole films, read without preparation: only the frames around them are decoded."""

import fractions
import math
import os
from collections.abc import Mapping, Sequence

import av
import numpy as np
from jaxtyping import Int

from mgm_jax.data.ava_files import read_rows
from mgm_jax.data.clip_builder import ClipBuilder, DecodedClip
from mgm_jax.data.detected import boxes_by_image, check_count
from mgm_jax.data.identity import VideoFacts
from mgm_jax.data.key_frames import KeyFrame
from mgm_jax.data.records import UNLABELLED, VideoRecord
from mgm_jax.data.video.containers import open_demuxer
from mgm_jax.data.video.packets import demultiplex
from mgm_jax.data.video.planes import FrameLayout
from mgm_jax.errors import ConfigError, VideoError


class FilmPart:
    """The frames of a film around a moment; reads as `decoding.Video` does, without motion.

    Args:
        path: The film.
        name: For messages.
        seconds: The moment, from the start of the film.
        reach: How many frames are wanted before and after it.

    Attributes:
        key: Number of the frame nearest to the moment.

    Raises:
        VideoError: Not a video, without time stamps, or it has no frame there.
    """

    def __init__(self, path: str, name: str, seconds: float, reach: int) -> None:
        container, stream = open_demuxer(path, name)
        with container:
            self._codec = stream.codec_context.name
            first, unit = stream.start_time or 0, stream.time_base
            rate = float(stream.average_rate or stream.guessed_rate or 25)
            assert unit is not None
            low, high = seconds - reach / rate, seconds + reach / rate
            container.seek(math.floor(fractions.Fraction(low) / unit) + first, stream=stream)
            self._frames: list[av.VideoFrame] = []
            distances = []
            for frame in (f for packet in demultiplex(container, stream) for f in packet.decode()):
                if frame.pts is None:
                    raise VideoError(f"{name}: its frames have no time stamps; convert it")
                time = float((frame.pts - first) * unit)
                if time > high:
                    break
                if time >= low:
                    self._frames.append(frame)
                    distances.append(abs(time - seconds))
        if not distances or min(distances) > 0.5:
            raise VideoError(f"{name}: it has no frame around second {seconds:g}; get all of it")
        self.key, self.num_frames = int(np.argmin(distances)), len(distances)
        self._layout = FrameLayout.of_frame(self._frames[0])
        self.height, self.width = self._layout.size

    def __enter__(self) -> "FilmPart":
        return self

    def __exit__(self, *exception: object) -> None:
        self._frames.clear()

    def read(
        self,
        frame_indices: Sequence[int] | Int[np.ndarray, " t"],
        *,
        size: tuple[int, int] | None = None,
        region: tuple[int, int, int, int] | None = None,
        motion: str = "none",
        motion_fallback_distance: int = 1,
    ) -> DecodedClip:
        """The frames with these numbers; see `decoding.Video.read`."""
        numbers = [int(number) for number in frame_indices]
        builder = ClipBuilder(numbers, self._layout, "none", size, region, self._codec)
        for number in sorted(set(numbers)):
            builder.add(number, self._frames[number])
        return builder.finish()


class FilmSource:
    """The key frames of films that a csv file of detected boxes names (`ava_files`).

    Args:
        files: The films; their names without suffix are those in the csv file.
        detections: The csv file.
        score: Less sure detections are left out.
        class_names: Of the model.
        max_boxes: Most boxes that a key frame may have.

    Raises:
        ConfigError: The file cannot be read, or has no boxes of a film, or too many, or others'.
    """

    def __init__(
        self,
        files: Sequence[str],
        detections: str,
        score: float,
        class_names: tuple[str, ...],
        max_boxes: int,
    ):
        self.class_names = class_names
        films = {os.path.splitext(os.path.basename(file))[0]: file for file in files}
        rows = read_rows(detections, "--boxes", "detections")
        self._boxes = boxes_by_image(rows, score)
        check_count(self._boxes, max_boxes, f"--boxes: {detections}")
        self._names = list(self._boxes)
        named = {name.rpartition("_")[0] for name in rows.images}
        for some, others, text in ((films, named, "boxes"), (named, films, "film")):
            missing = sorted(set(some) - set(others))
            if missing:
                raise ConfigError(
                    f"--boxes: {detections} and the films do not belong together: there is no "
                    f"{text} of {', '.join(missing[:3])}; films are known by their file names"
                )
        if not self._names:
            raise ConfigError(
                f"--boxes: none of the {len(rows.image)} boxes of {detections} has a score of at "
                f"least {score:g} (config.eval.detection_score of the run)"
            )
        self._films: Mapping[str, str] = films

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> VideoRecord:
        """The key frame at a position; nothing is annotated."""
        name = self._names[index]
        film, _, second = name.rpartition("_")
        found = self._boxes[name]
        none = np.zeros((0, 4), np.float32)
        actions = np.zeros((0, len(self.class_names)), np.uint8)
        key = KeyFrame(0, none, actions, found[:, :4], found[:, 4], float(second))
        return VideoRecord(self._films[film], name, UNLABELLED, key=key)

    def describe(self, index: int) -> str:
        """Film and second."""
        film, _, second = self._names[index].rpartition("_")
        return f"{self._films[film]} at second {int(second)}"

    def facts(self) -> list[VideoFacts]:
        """Their names."""
        return [VideoFacts(name, UNLABELLED, name.rpartition("_")[0]) for name in self._names]
