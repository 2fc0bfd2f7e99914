"""Decodes a video file from any frame on, with every frame known by its number."""

import collections
import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Collection, Iterable, Iterator

import av
from av.video.frame import PictureType

from mgm_jax.data.video.containers import GET_AGAIN, VideoInput, open_container
from mgm_jax.data.video.packets import TOLERATED_MISSING_FRAMES, PacketIndex
from mgm_jax.errors import VideoError

NumberedFrame = tuple[int, av.VideoFrame]
"""A frame's number in presentation order, from 0, and the frame as stored."""

BIDIRECTIONAL_PICTURES = frozenset({PictureType.B, PictureType.BI})
INTER_PICTURES = frozenset({PictureType.P, PictureType.B, PictureType.S, PictureType.SP})
"""Types of frames that are predicted from other frames."""

EXPORTING_CODECS = frozenset(
    (
        *("flv1", "h261", "h263", "h263p", "h264", "mpeg1video", "mpeg2video", "mpeg4"),
        *("msmpeg4v1", "msmpeg4v2", "msmpeg4v3", "rv10", "rv20", "snow", "wmv1", "wmv2"),
    )
)
"""Codecs whose FFmpeg decoder exports motion vectors. HEVC, VP8, VP9 and AV1 export none."""

# These decoders themselves hold frames back whose references are missing.
_HIDING_CODECS = frozenset({"h264", "hevc"})


class UnexpectedFrameError(Exception):
    """The decoder does not output the frames that the packets announced."""


class FrameDecoder:
    """An open file, its packets and its decoder; single-threaded.

    Args:
        source: Path, or the file's bytes.
        name: For messages; the path by default.
        allow_damage: Whether to take frames in which FFmpeg has concealed damage. It flags that for
            MPEG-1, 2 and 4, H.263 and H.264; not for frames that are missing altogether.

    Attributes:
        codec: FFmpeg's name of the codec.
        size: (height, width) of the stored frames in luma pixels if the headers state it; the
            frames are then stored upright. None if a frame has to be decoded to know.
        index: Its packets.
        num_frames: Number of frames that can be read; if the index is `timed`, as many as the file
            announces.

    Raises:
        VideoError: Not a video, empty, or cut off.
    """

    def __init__(
        self, source: VideoInput, name: str | None = None, allow_damage: bool = False
    ) -> None:
        self.name = name or ("<bytes>" if isinstance(source, bytes) else os.fspath(source))
        self._allow_damage = allow_damage
        self._file = open_container(source, self.name)
        self.codec = self._file.codec
        self.size = self._file.size
        self.index = self._file.index
        try:
            self.num_frames = sum(self.index.shown) if self.index.timed else self._count_frames()
            if not self.num_frames:
                raise self._nothing_to_show()
        except VideoError:
            self.close()
            raise

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    @functools.cached_property
    def first_frame(self) -> av.VideoFrame:
        """The first frame that can be decoded, whatever is damaged before it."""
        decoder = self._file.make_decoder(False)
        positions = range(len(self.index.packets))
        for frame in decode_packets(self.index, decoder, positions, lambda *_: None):
            return frame
        raise self._nothing_to_show()

    def _nothing_to_show(self) -> VideoError:
        return VideoError(f"{self.name}: none of its frames can be decoded; {GET_AGAIN}")

    def frames(
        self,
        start: int | None,
        wanted: Collection[int],
        needed: Collection[int],
        export_vectors: bool,
    ) -> Iterator[NumberedFrame]:
        """Decodes until the last wanted frame has come.

        Skips frames that no other is predicted from (H.264) and the ends of groups of pictures,
        unless they are wanted or needed. Every call has a new decoder: what a damaged packet leaves
        behind in one outlives a flush.

        Args:
            start: Position of the first packet, from `PacketIndex.start_for`; None counts the
                frames from the first packet on, whatever their time stamps.
            wanted: Frame numbers, ascending.
            needed: Further frames that must not be skipped.
            export_vectors: Whether frames carry the codec's motion vectors.

        Yields:
            Frames in ascending order, the wanted ones among them.

        Raises:
            VideoError: A wanted or needed frame cannot be decoded or is damaged.
            UnexpectedFrameError: A wanted frame did not come. Start at None instead.
        """
        decoder = self._file.make_decoder(export_vectors)
        missing = collections.deque(wanted)
        positions = self._needed_positions(start, {*missing, *needed})
        damage = DamageTracker({*wanted, *needed})
        last: NumberedFrame | None = None
        for number, frame in self._numbered(self._decode(positions, decoder, start), start):
            # Containers flag some frames as key frames that are none.
            false_start = bool(start) and last is None and frame.pict_type in INTER_PICTURES
            if false_start or (missing and missing[0] < number):
                raise UnexpectedFrameError
            damaged = None if self._allow_damage else damage.first_damaged(number, frame)
            if damaged is not None:
                near_the_end = damaged >= self.num_frames - TOLERATED_MISSING_FRAMES
                if last is None or damaged < number or not near_the_end:
                    raise VideoError(
                        f"{self.name}: frame {damaged} is damaged; {GET_AGAIN}, or accept damaged "
                        "frames with --config.data.allow_damage"
                    )
                frame = last[1]  # As if it were missing, which the end of a recording may be.
            if missing:
                last = number, frame
                yield last
                if missing[0] == number:
                    missing.popleft()
            if not missing and not damage.is_open:
                return
        if missing and start is not None:
            raise UnexpectedFrameError
        for number in missing:
            if last is None or number - last[0] > TOLERATED_MISSING_FRAMES:
                raise VideoError(
                    f"{self.name}: there is no frame {number}, only {last[0] + 1 if last else 0} "
                    f"frames can be decoded; {GET_AGAIN}"
                )
            yield number, last[1]

    def _count_frames(self) -> int:
        decoder = self._file.make_decoder(False)
        return sum(1 for _ in self._decode(range(len(self.index.packets)), decoder, None))

    def _needed_positions(self, start: int | None, needed: set[int]) -> Iterator[int]:
        if start is None:
            yield from range(len(self.index.packets))
            return
        for position in itertools.chain.from_iterable(self.index.groups(start, needed)):
            number = self.index.numbers[position]
            if number is None or number in needed or not self.index.is_unreferenced(position):
                yield position

    def _decode(
        self, positions: Iterable[int], decoder: av.VideoCodecContext, start: int | None
    ) -> Iterator[av.VideoFrame]:
        def refuse(position: int, error: OSError | av.FFmpegError) -> None:
            number = None if start is None else self.index.numbers[position]
            raise VideoError(
                f"{self.name}: frame {position if number is None else number} of "
                f"{len(self.index.packets)} cannot be decoded ({error.strerror}); {GET_AGAIN}"
            ) from error

        try:
            yield from decode_packets(self.index, decoder, positions, refuse)
        except VideoError:
            # Frames that the decoder still holds back are good all the same.
            with contextlib.suppress(av.FFmpegError):
                yield from decoder.decode(None)
            raise

    def _numbered(
        self, frames: Iterable[av.VideoFrame], start: int | None
    ) -> Iterator[NumberedFrame]:
        last = -1
        first = (self.index.numbers[start] if start else None) or 0
        for frame in frames:
            number: int | None = last + 1
            if start is not None:
                number = None if frame.pts is None else self.index.number_of_time.get(frame.pts)
            if number is None or number <= last:
                raise UnexpectedFrameError
            last = number
            # Frames displayed before the key frame that decoding started from lack references.
            if number >= first:
                yield number, frame


class DamageTracker:
    """Finds the frames that damage reaches, of frames in presentation order.

    FFmpeg flags a frame in which it has concealed damage, but none that is predicted from it. Those
    are all up to the next key frame, and the B-frames just before it.

    Attributes:
        is_open: Whether the next frame can still tell that an earlier one is damaged.
    """

    def __init__(self, wanted: Collection[int]) -> None:
        self._wanted, self._in_doubt = wanted, list[int]()
        self._is_damaged = self.is_open = False

    def first_damaged(self, number: int, frame: av.VideoFrame) -> int | None:
        """The first wanted frame that the next frame shows to be damaged, itself or an earlier."""
        self.is_open = frame.pict_type in BIDIRECTIONAL_PICTURES
        self._is_damaged = frame.is_corrupt or (self._is_damaged and not frame.key_frame)
        self._in_doubt += [number] if number in self._wanted else []
        if self._is_damaged and self._in_doubt:
            return self._in_doubt[0]
        if not self.is_open:
            self._in_doubt.clear()
        return None


def decode_packets(
    index: PacketIndex,
    decoder: av.VideoCodecContext,
    positions: Iterable[int],
    on_error: Callable[[int, OSError | av.FFmpegError], None],
) -> Iterator[av.VideoFrame]:
    """Decodes the packets at some positions, and then what the decoder still holds back.

    What comes before the first frame that does not need the part that a file was cut out of is left
    out, and errors there and in packets without a frame are ignored. Others are passed to
    `on_error`, with the position of the packet.
    """
    began = index.begins_with_key_frame
    shows_all = decoder.name in _HIDING_CODECS or not any(index.key_flags)
    last = 0
    for position in itertools.chain(positions, [None]):
        last = last if position is None else position
        try:
            frames = decoder.decode(None if position is None else index.packets[position])
        except (av.FFmpegError, OSError) as error:
            if began and (position is None or not index.empty[position]):
                on_error(last, error)
            continue
        for frame in frames:
            began = began or shows_all or frame.key_frame
            if began:
                yield frame
