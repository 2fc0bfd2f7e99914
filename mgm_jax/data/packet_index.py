"""Which packet of a video file holds which frame, found without decoding.

The packets stay in memory, so that going to a frame is a matter of choosing the packet to start
from: exact in every container, whatever its own index is worth.
"""

import dataclasses
import functools

import av

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
        shown: Per packet, whether the file means its frame to be seen.
        timed: Whether the packets' time stamps give the order of presentation. If not, frames
            have to be counted as they leave the decoder.
        codec: FFmpeg's name of the codec.
        nal_length_size: Bytes of the length before each H.264 unit; 0 means start codes.
    """

    packets: tuple[av.Packet, ...]
    shown: tuple[bool, ...]
    timed: bool
    codec: str
    nal_length_size: int

    @functools.cached_property
    def _presentation_times(self) -> list[int]:
        shown = zip(self.packets, self.shown, strict=True)
        return sorted(packet.pts for packet, is_shown in shown if is_shown)

    @functools.cached_property
    def number_of_time(self) -> dict[int, int]:
        """Frame number by presentation time stamp; only where `timed`."""
        return {time: number for number, time in enumerate(self._presentation_times)}

    @property
    def num_shown(self) -> int:
        """Packets whose frame is to be seen: the number of frames where `timed`."""
        return sum(self.shown)

    @functools.cached_property
    def key_frames(self) -> dict[int, int]:
        """Position of the packet by frame number, of the frames that decoding can start from."""
        return {
            self.number_of_time[packet.pts]: position
            for position, packet in enumerate(self.packets)
            if packet.is_keyframe and self.shown[position]
        }

    @property
    def all_key_frames(self) -> bool:
        """Whether every packet is a key frame: such a file has no motion vectors."""
        return all(packet.is_keyframe for packet in self.packets)

    def number_at(self, position: int) -> int | None:
        """Number of the frame that a packet shows; None if it shows none. Only where `timed`."""
        return self.number_of_time[self.packets[position].pts] if self.shown[position] else None

    def start_for(self, frame: int) -> int:
        """Position of the latest packet from which a frame can be decoded; only where `timed`."""
        number = max((key for key in self.key_frames if key <= frame), default=None)
        return 0 if number is None else self.key_frames[number]

    def is_unreferenced(self, position: int) -> bool:
        """Whether no other frame is predicted from this packet's, so that it can be left out.

        H.264 says so in each unit's header (nal_ref_idc); for other codecs the answer is no.
        """
        return self.codec == "h264" and _is_unreferenced_h264(
            memoryview(self.packets[position]), self.nal_length_size
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
    times = [packet.pts for packet, is_shown in zip(packets, shown, strict=True) if is_shown]
    # AVI stores the order of decoding only. Where the codec reorders frames, time stamps that
    # never go back are therefore no presentation times.
    reorders = stream.codec_context.reorder_depth > 0 and codec not in _ALWAYS_REORDER
    timed = (
        None not in times
        and len(set(times)) == len(times)
        and not (reorders and times == sorted(times))
    )
    extradata = stream.codec_context.extradata or b""
    has_configuration_record = len(extradata) > 4 and extradata[0] == 1
    nal_length_size = (extradata[4] & 3) + 1 if has_configuration_record else 0
    return PacketIndex(packets, shown, timed, codec, nal_length_size)


def _is_unreferenced_h264(data: memoryview, nal_length_size: int) -> bool:
    slice_headers = [
        unit for unit in _h264_unit_headers(data, nal_length_size) if 1 <= unit & 31 <= 5
    ]
    return bool(slice_headers) and not any(header & 0x60 for header in slice_headers)


def _h264_unit_headers(data: memoryview, nal_length_size: int) -> list[int]:
    headers = []
    if nal_length_size:
        position = 0
        while position + nal_length_size < len(data):
            unit = position + nal_length_size
            headers.append(data[unit])
            position = unit + int.from_bytes(data[position:unit], "big")
    else:
        content = bytes(data)
        position = content.find(b"\0\0\1")
        while 0 <= position < len(content) - 3:
            headers.append(content[position + 3])
            position = content.find(b"\0\0\1", position + 3)
    return headers
