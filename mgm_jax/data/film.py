"""Key frames of whole films, read without preparation: only the frames around them are decoded."""

import os
from collections.abc import Sequence
from typing import Any

import av
import numpy as np
from jaxtyping import Int

from mgm_jax.data.ava_files import key_frame_name
from mgm_jax.data.clip_builder import ClipBuilder, DecodedClip
from mgm_jax.data.identity import VideoFacts
from mgm_jax.data.key_frames import FPS, KeyFrame
from mgm_jax.data.records import UNLABELLED, VideoRecord
from mgm_jax.data.video.containers import GET_AGAIN, open_demuxer
from mgm_jax.data.video.decoder import BIDIRECTIONAL_PICTURES
from mgm_jax.data.video.planes import FrameLayout, Window
from mgm_jax.data.video.seeking import frames_from, steady_rate
from mgm_jax.errors import ConfigError, VideoError, printable


class FilmPart:
    """The frames of a film around a moment; reads as `decoding.Video` does, without motion.

    Args:
        path: The film.
        name: For messages.
        seconds: The moment, from the start of the film.
        reach: How many frames are wanted before and after it, of 25 per second.
        allow_damage: See `decoding.Video`.

    Attributes:
        key: Number of the frame nearest to the moment.
        fps: Frames per second there.

    Raises:
        VideoError: Not a video, without usable time stamps, or it has no frame there.
    """

    def __init__(
        self, path: str, name: str, seconds: float, reach: int, allow_damage: bool = False
    ) -> None:
        container, stream = open_demuxer(path, name)
        with container:
            self._codec = stream.codec_context.name
            stated = float(stream.average_rate or stream.guessed_rate or FPS)
            # One frame more on each side: those nearest in time may lie beyond.
            margin = reach / FPS + 1 / stated
            low, high = seconds - margin, seconds + margin
            self._frames: list[av.VideoFrame] = []
            times: list[float] = []
            self._damaged: list[bool] = []
            for time, frame, damaged in frames_from(container, stream, low, name):
                if time > high:
                    break
                self._frames.append(frame)
                times.append(time)
                self._damaged.append(damaged and not allow_damage)
        distances = [abs(time - seconds) for time in times]
        if not distances or min(distances) > 0.5:
            raise VideoError(f"{name}: it has no frame around second {seconds:g}; get all of it")
        for number in reversed(range(len(distances) - 1)):
            # Those are predicted from the frame after them too.
            if self._frames[number].pict_type in BIDIRECTIONAL_PICTURES:
                self._damaged[number] |= self._damaged[number + 1]
        self._name, self._seconds, self.fps = name, seconds, steady_rate(times, stated)
        self.key, self.num_frames = int(np.argmin(distances)), len(distances)
        self._layout = FrameLayout.of_frame(self._frames[0])
        self.height, self.width = self._layout.size

    def __enter__(self) -> "FilmPart":
        return self

    def __exit__(self, *exception: object) -> None:
        self._frames.clear()

    def read(
        self, numbers: Int[np.ndarray, " t"], *, motion: str, windows: Sequence[Window], **_: Any
    ) -> DecodedClip:
        """The frames with these numbers; see `decoding.Video.read`."""
        if motion != "none":
            raise VideoError("motion is not read from films; set config.data.motion=none")
        wanted = numbers.tolist()
        if any(self._damaged[number] for number in wanted):
            raise VideoError(
                f"{self._name}: frames around second {self._seconds:g} are damaged; {GET_AGAIN}"
            )
        builder = ClipBuilder(wanted, self._layout, "none", windows, self._codec)
        for number in sorted(set(wanted)):
            builder.add(number, self._frames[number])
        return builder.finish()


class FilmKeyFrames:
    """Seconds of films as key frames of which nothing is annotated.

    Args:
        files: The films.
        names: The key frames, as `ava_files.key_frame_name` makes them of the films' file names
            without suffix.
        class_names: Of the model.

    Raises:
        ConfigError: The key frames are not those of the films, or two films have one name.
    """

    def __init__(self, files: Sequence[str], names: Sequence[str], class_names: tuple[str, ...]):
        self.class_names = class_names
        self._films: dict[str, str] = {}
        for file in files:
            stem = os.path.splitext(os.path.basename(file))[0]
            if (other := self._films.setdefault(stem, file)) != file:
                raise ConfigError(
                    f"--boxes: {printable(other)} and {printable(file)} have one name; films are "
                    "known by their file names"
                )
        self._moments = [
            (film, int(second)) for film, _, second in (n.rpartition("_") for n in names)
        ]
        named = {film for film, _ in self._moments}
        for some, others, text in ((self._films, named, "boxes"), (named, self._films, "film")):
            missing = sorted(set(some) - set(others))
            if missing:
                raise ConfigError(
                    f"--boxes: the boxes and the films do not belong together: there is no {text} "
                    f"of {', '.join(missing[:3])}; films are known by their file names"
                )

    def __len__(self) -> int:
        return len(self._moments)

    def __getitem__(self, index: int) -> VideoRecord:
        """The key frame at a position."""
        film, second = self._moments[index]
        actions = np.zeros((0, len(self.class_names)), np.uint8)
        key = KeyFrame(0, np.zeros((0, 4), np.float32), actions, seconds=float(second))
        return VideoRecord(self._films[film], key_frame_name(film, second), UNLABELLED, key=key)

    def describe(self, index: int) -> str:
        """Film and second."""
        film, second = self._moments[index]
        return printable(f"{self._films[film]} at second {second}")

    def facts(self) -> list[VideoFacts]:
        """Their names."""
        return [
            VideoFacts(key_frame_name(*moment), UNLABELLED, moment[0]) for moment in self._moments
        ]
