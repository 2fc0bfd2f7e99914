"""Which packet of a video file holds which frame, found without decoding.

Seeking then means choosing the packet to start from, which is exact whatever the container's own
index is worth. The packets are either demultiplexed and kept in memory, or read on request at the
positions that the tables of an mp4 file give.
"""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Collection, Iterator, Sequence

import av
import numpy as np

from mgm_jax.data.video.h264 import (
    allows_fields,
    is_instantaneous_refresh,
    is_unreferenced,
    overrides_container,
)
from mgm_jax.data.video.mp4 import Mp4Tables, check_announced
from mgm_jax.data.video.shown_frames import Holds, packet_reader
from mgm_jax.errors import VideoError

# These decoders announce reordering for every file, even one without B-frames.
_ALWAYS_REORDER = frozenset({"mpeg1video", "mpeg2video"})

# Decision: as many frames may be missing at the end of a file before it counts as damaged.
TOLERATED_MISSING_FRAMES = 2

# Containers may add to a packet, or compress it.
_SMALL_FILE_BYTES = 2**20

# Packets of an mp4 without a frame, such as parameter sets, are smaller than this.
_PARAMETER_SETS_BYTES = 64


@dataclasses.dataclass(frozen=True)
class PacketIndex:
    """The packets of one video stream, in decoding order.

    Attributes:
        times: Presentation time stamp of each packet, or None.
        key_flags: Whether the file calls the packet a key frame.
        empty: Whether the packet holds no picture at all. The decoder may refuse such a packet, or
            need it.
        shown: Whether the packet's frame is displayed.
        timed: Whether the time stamps give the order of presentation. If not, frames have to be
            counted as they leave the decoder; the numbers here are not theirs.
        nal_length_size: Bytes of the length before each H.264 unit; 0 means start codes.
    """

    packets: Sequence[av.Packet]
    times: Sequence[int | None]
    key_flags: Sequence[bool]
    empty: Sequence[bool]
    shown: Sequence[bool]
    timed: bool
    is_h264: bool
    nal_length_size: int

    def content(self, position: int) -> memoryview:
        """The bytes of a packet."""
        return memoryview(self.packets[position])

    @functools.cached_property
    def number_of_time(self) -> dict[int, int]:
        """Frame number by presentation time stamp."""
        known = [time for time in itertools.compress(self.times, self.shown) if time is not None]
        return {time: number for number, time in enumerate(sorted(known))}

    @functools.cached_property
    def numbers(self) -> list[int | None]:
        """Number of each packet's frame; None if it is not displayed."""
        return [
            self.number_of_time[time] if is_shown and time is not None else None
            for time, is_shown in zip(self.times, self.shown, strict=True)
        ]

    @functools.cached_property
    def key_frames(self) -> dict[int, int]:
        """Position of the packet by frame number, of the displayed key frames."""
        return {n: position for n, position in self._positions.items() if self.key_flags[position]}

    @functools.cached_property
    def begins_with_key_frame(self) -> bool:
        """Whether every frame can be decoded, from the first packet on.

        Not so in a file that was cut out of a longer one, where frames refer to missing ones.
        """
        first = next((place for place, empty in enumerate(self.empty) if not empty), 0)
        time = self.times[first]
        if time is not None and time > min(self.number_of_time, default=time):
            return False
        return self.key_flags[first] and (
            not self.is_h264 or is_instantaneous_refresh(self.content(first), self.nal_length_size)
        )

    def start_for(self, frame: int) -> int | None:
        """Position of the latest packet from which a frame can be decoded; None if not `timed`."""
        if not self.timed:
            return None
        number = max((key for key in self.key_frames if key <= frame), default=None)
        return 0 if number is None else self.key_frames[number]

    def groups(self, start: int, frames: Collection[int]) -> Iterator[range]:
        """The packets needed to decode some frames, one range per group of pictures.

        The end of a group, after the last of the frames in it, is left out if the next key frame
        resets the decoder (an IDR picture of H.264), and so is everything after the last frame of
        all. Other codecs get everything: their decoders output delayed frames without their
        vectors when they are flushed (MPEG-1 and 2). `start` is a position from `start_for`.
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
    def _positions(self) -> dict[int, int]:
        return {n: position for position, n in enumerate(self.numbers) if n is not None}

    def is_unreferenced(self, position: int) -> bool:
        """Whether no other frame is predicted from this packet's, so that it can be skipped.

        H.264 states it in each unit's header (nal_ref_idc); for other codecs the answer is no.
        """
        return self.is_h264 and is_unreferenced(self.content(position), self.nal_length_size)


def demultiplex(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[av.Packet]:
    """The packets of a stream to the end of its file; the last one, without data, is for flushing.

    If another stream appears in mid-file (joined MPEG-TS, MPEG-PS), PyAV raises IndexError, but
    only after all packets.
    """
    with contextlib.suppress(IndexError):
        yield from container.demux(stream)


def index_packets(
    container: av.container.InputContainer, stream: av.VideoStream, name: str
) -> PacketIndex:
    """Demultiplexes a stream of a freshly opened container to its end.

    Raises:
        VideoError: The file cannot be read, its stream is empty, or it is cut off. Truncation goes
            unnoticed in formats that do not announce their frames (MPEG program streams; WebM has
            `containers.check_complete`).
    """
    size = container.size or 0
    packets, room = [], 2 * size + _SMALL_FILE_BYTES
    try:
        for packet in demultiplex(container, stream):
            if packet.size:
                packets.append(packet)
                room -= packet.size
                check_announced(len(packets), size, name)
                if room < 0:
                    raise VideoError(
                        f"{name}: its tables claim more data than the file holds; get it again, or "
                        "leave it out"
                    )
    except av.FFmpegError as error:
        raise VideoError(
            f"{name}: it cannot be read ({error.strerror}); get it again, or leave it out"
        ) from error
    if not packets:
        raise VideoError(f"{name}: its video stream holds no data; get it again, or leave it out")
    announced = len(stream.index_entries)
    cut = announced > len(packets) + TOLERATED_MISSING_FRAMES
    if cut or any(packet.is_corrupt for packet in packets[-1:]):
        raise VideoError(
            f"{name}: the file is cut off in frame {len(packets)} of "
            f"{max(announced, len(packets))}; get it again, or leave it out"
        )
    codec = stream.codec_context.codec.canonical_name
    extradata = stream.codec_context.extradata or b""
    length_position = {"h264": 4, "hevc": 21}.get(codec, 0)
    nal_length_size = 0
    if len(extradata) > length_position > 0 and extradata[0] == 1:  # a configuration record
        nal_length_size = (extradata[length_position] & 3) + 1
    reader = packet_reader(codec, container.format.name, nal_length_size)
    held = [reader(memoryview(packet)) for packet in packets]
    empty = [holds is Holds.NOTHING for holds in held]
    if "mp4" in container.format.name:
        # Larger packets hold damaged frames, as `index_tables` says.
        small = [packet.size < _PARAMETER_SETS_BYTES for packet in packets]
        empty = [both == (True, True) for both in zip(empty, small, strict=True)]
    # An edit list hides frames that others still need as references.
    shown = [not (none or p.is_discard) for none, p in zip(empty, packets, strict=True)]
    times = [packet.pts for packet in packets]
    reorders = stream.codec_context.reorder_depth > 0 and codec not in _ALWAYS_REORDER
    is_h264 = codec == "h264"
    one_each = Holds.UNSURE not in held
    if is_h264 and allows_fields(extradata, nal_length_size):
        one_each = False  # The fields of a frame may be in packets of their own.
    index = PacketIndex(
        packets=packets,
        times=times,
        key_flags=[packet.is_keyframe for packet in packets],
        empty=empty,
        shown=shown,
        timed=one_each and _give_the_order(list(itertools.compress(times, shown)), reorders),
        is_h264=is_h264,
        nal_length_size=nal_length_size,
    )
    return index if index.begins_with_key_frame else dataclasses.replace(index, timed=False)


def index_tables(tables: Mp4Tables, packets: Sequence[av.Packet]) -> PacketIndex | None:
    """Indexes packets, which are in the order of the tables of their mp4 file.

    Returns None if the tables do not give the order of presentation for certain, or if they may
    not tell which packets have frames that can be decoded.
    """
    times = tables.times.tolist()
    reorders = tables.header.num_reorder_frames != 0
    if not _give_the_order(times, reorders):
        return None
    index = PacketIndex(
        packets=packets,
        times=times,
        key_flags=tables.key_frames.tolist(),
        empty=[False] * len(times),
        shown=[True] * len(times),
        timed=True,
        is_h264=True,
        nal_length_size=(tables.configuration[4] & 3) + 1,
    )
    holds = packet_reader("h264", "mp4", index.nal_length_size)
    small = np.flatnonzero(tables.sizes < _PARAMETER_SETS_BYTES).tolist()
    if not index.begins_with_key_frame or Holds.NOTHING in map(holds, map(index.content, small)):
        return None
    first, parameters = index.content(0), tables.sequence_parameters
    return None if overrides_container(first, index.nal_length_size, parameters) else index


def _give_the_order(times: Sequence[int | None], reorders: bool) -> bool:
    """Whether time stamps, in decoding order, give the order of presentation.

    AVI stores decoding order only: where the codec reorders frames, time stamps that never
    decrease are not presentation times.
    """
    known = [time for time in times if time is not None]
    return (
        len(known) == len(times)
        and len(set(known)) == len(known)
        and not (reorders and known == sorted(known))
    )
