"""Which packet of a video file holds which frame, found without decoding.

Going to a frame is a matter of choosing the packet to start from: exact in every container,
whatever its own index is worth. Packets come from demultiplexing the file, and then stay in memory,
or from the tables of an mp4, and then are read when they are asked for.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Collection, Iterator, Sequence

import av

from mgm_jax.data.video.h264 import is_instantaneous_refresh, is_unreferenced
from mgm_jax.data.video.mp4 import Mp4Tables
from mgm_jax.errors import VideoError

# These decoders expect B-frames in every file, so that they expect them says nothing.
_ALWAYS_REORDER = frozenset({"mpeg1video", "mpeg2video"})

# Decision: as many frames may be missing at the end of a file before it counts as damaged.
TOLERATED_MISSING_FRAMES = 2


@dataclasses.dataclass(frozen=True)
class PacketIndex:
    """The packets of one video stream.

    Attributes:
        packets: In decoding order.
        content: The bytes of the packet at a position.
        times: Per packet, its presentation time stamp, or None.
        key_flags: Per packet, whether the file calls it a key frame.
        shown: Per packet, whether the file means its frame to be seen.
        timed: Whether the packets' time stamps give the order of presentation. If not, frames
            have to be counted as they leave the decoder.
        is_h264: Whether the packets are H.264.
        may_be_unreferenced: Whether it is worth asking `is_unreferenced`: for H.264, unless the
            file says that it has no B-frames.
        nal_length_size: Bytes of the length before each H.264 unit; 0 means start codes.
    """

    packets: Sequence[av.Packet]
    content: Callable[[int], bytes | memoryview]
    times: Sequence[int | None]
    key_flags: Sequence[bool]
    shown: Sequence[bool]
    timed: bool
    is_h264: bool
    may_be_unreferenced: bool
    nal_length_size: int

    @functools.cached_property
    def number_of_time(self) -> dict[int, int]:
        """Frame number by presentation time stamp; only where `timed`."""
        times = sorted(itertools.compress(self.times, self.shown))
        return dict(zip(times, range(len(times)), strict=True))

    @property
    def num_shown(self) -> int:
        """Packets whose frame is to be seen: the number of frames where `timed`."""
        return sum(self.shown)

    @functools.cached_property
    def key_frames(self) -> dict[int, int]:
        """Position of the packet by frame number, of the frames that decoding can start from."""
        keys = itertools.compress(range(len(self.packets)), self.key_flags)
        return {
            self.number_of_time[self.times[position]]: position
            for position in keys
            if self.shown[position]
        }

    @property
    def all_key_frames(self) -> bool:
        """Whether every packet is a key frame: such a file has no motion vectors."""
        return all(self.key_flags)

    def number_at(self, position: int) -> int | None:
        """Number of the frame that a packet shows; None if it shows none. Only where `timed`."""
        return self._numbers[position]

    def start_for(self, frame: int) -> int:
        """Position of the latest packet from which a frame can be decoded; only where `timed`."""
        number = max((key for key in self.key_frames if key <= frame), default=None)
        return 0 if number is None else self.key_frames[number]

    def groups(self, start: int, frames: Collection[int]) -> Iterator[range]:
        """The packets from which frames can be decoded, without the ends of groups of pictures.

        After the last of the frames in a group, what is left of it is not needed where the next
        key frame makes the decoder forget what was before (H.264's IDR pictures); and nothing after
        the last of all. Only of H.264: other decoders give frames that they held back to the end
        without their vectors (MPEG-1 and 2).

        Args:
            start: Position of the first packet, of `start_for`.
            frames: Numbers of frames; only where `timed`.

        Yields:
            Positions; after them the decoder may still hold frames back.
        """
        if not self.is_h264:
            yield range(start, len(self.packets))
            return
        needed = [self._positions[number] for number in frames if number in self._positions]
        end = max(needed, default=start) + 1
        keys = [
            position
            for position in sorted(self.key_frames.values())
            if start < position < end
            and is_instantaneous_refresh(self.content(position), self.nal_length_size)
        ]
        for first, following in itertools.pairwise([start, *keys, end]):
            yield range(first, max((p for p in needed if p < following), default=-1) + 1)

    @functools.cached_property
    def _numbers(self) -> list[int | None]:
        return [
            self.number_of_time[time] if is_shown else None
            for time, is_shown in zip(self.times, self.shown, strict=True)
        ]

    @functools.cached_property
    def _positions(self) -> dict[int, int]:
        shown = itertools.compress(range(len(self.packets)), self.shown)
        return {self._numbers[position]: position for position in shown}

    def is_unreferenced(self, position: int) -> bool:
        """Whether no other frame is predicted from this packet's, so that it can be left out.

        H.264 says so in each unit's header (nal_ref_idc); for other codecs the answer is no.
        """
        return self.may_be_unreferenced and is_unreferenced(
            self.content(position), self.nal_length_size
        )


def index_packets(
    container: av.container.InputContainer, stream: av.VideoStream, name: str
) -> PacketIndex:
    """Demultiplexes a stream to its end.

    Args:
        container: Freshly opened.
        stream: One of its video streams.
        name: For messages.

    Returns:
        The index.

    Raises:
        VideoError: The stream is empty or the file is cut off. Formats that do not announce their
            frames (MPEG program streams, WebM) can be cut off unseen.
        av.FFmpegError: The file cannot be read.
    """
    codec = stream.codec_context.name
    packets = tuple(packet for packet in container.demux(stream) if packet.size)
    if not packets:
        raise VideoError(f"{name}: its video stream holds no data; get it again, or leave it out")
    announced = len(stream.index_entries)
    cut = announced > len(packets) + TOLERATED_MISSING_FRAMES
    if cut or any(packet.is_corrupt for packet in packets[-1:]):
        raise VideoError(
            f"{name}: the file is cut off in frame {len(packets)} of "
            f"{max(announced, len(packets))}; get it again, or leave it out"
        )
    # An edit list hides frames that others still need as references.
    shown = tuple(not packet.is_discard for packet in packets)
    times = tuple(packet.pts for packet in packets)
    # AVI stores the order of decoding only. Where the codec reorders frames, time stamps that
    # never go back are therefore no presentation times.
    reorders = stream.codec_context.reorder_depth > 0 and codec not in _ALWAYS_REORDER
    extradata = stream.codec_context.extradata or b""
    has_configuration_record = len(extradata) > 4 and extradata[0] == 1
    return PacketIndex(
        packets=packets,
        content=lambda position: memoryview(packets[position]),
        times=times,
        key_flags=tuple(packet.is_keyframe for packet in packets),
        shown=shown,
        timed=_tell_the_order(list(itertools.compress(times, shown)), reorders),
        is_h264=codec == "h264",
        may_be_unreferenced=codec == "h264",
        nal_length_size=(extradata[4] & 3) + 1 if has_configuration_record else 0,
    )


def index_tables(
    tables: Mp4Tables,
    packets: Sequence[av.Packet],
    content: Callable[[int], bytes | memoryview],
) -> PacketIndex | None:
    """Describes packets by the tables of an mp4.

    Args:
        tables: Of the file.
        packets: In the order of the tables.
        content: The bytes of one of them.

    Returns:
        The index; None if the tables do not say for certain in which order frames are shown.
    """
    times = tables.times.tolist()
    reorders = tables.header.num_reorder_frames != 0
    if not _tell_the_order(times, reorders):
        return None
    return PacketIndex(
        packets=packets,
        content=content,
        times=times,
        key_flags=tables.key_frames.tolist(),
        shown=[True] * len(times),
        timed=True,
        is_h264=True,
        may_be_unreferenced=reorders,
        nal_length_size=(tables.configuration[4] & 3) + 1,
    )


def _tell_the_order(times: Sequence[int | None], reorders: bool) -> bool:
    """Whether time stamps, in decoding order, give the order of presentation."""
    return (
        None not in times
        and len(set(times)) == len(times)
        and not (reorders and times == sorted(times))
    )
