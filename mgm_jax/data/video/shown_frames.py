"""Counts the frames in a packet without decoding it.

Most packets hold one. Others hold none (placeholders of XviD, parameter sets, frames that are only
references), or several (packed B-frames of DivX).
"""

import contextlib
import re
from collections.abc import Callable, Iterator

from mgm_jax.data.video.h264 import (
    HEADER_BYTES,
    Bits,
    field_of,
    parse_sequence_parameters,
    unit_headers,
    units,
)

Content = bytes | memoryview
FrameCounter = Callable[[Content], int | None]

_PLACEHOLDER = b"\x7f"  # XviD and x264 write it into an AVI while they have no frame yet.
_START_CODE = b"\0\0\1"
_MPEG4_LAYER = re.compile(rb"\x00\x00\x01[\x20-\x2f]")
_MPEG4_PICTURE = b"\0\0\1\xb6"
_MPEG12_PICTURE = b"\0\0\1\0"
_EXTENDED_ASPECT_RATIO = 15
_LONGEST_UNCODED = 99
# Units without picture data: parameter sets, delimiters, ends of sequences, fillers, SEI.
_H264_EMPTY = frozenset(range(6, 14))
_H264_SLICES, _H264_HEADER = frozenset(range(1, 6)), 7
_HEVC_EMPTY = frozenset(range(32, 41))
_AV1_FRAMES = (3, 6)  # OBU_FRAME_HEADER, OBU_FRAME


def frame_counter(codec: str, extradata: bytes, length_size: int) -> FrameCounter:
    """A function from packets, called in decoding order, to the number of displayed frames in them.

    It returns None for packets without any picture, which decoders may refuse, and 1 for damaged
    ones. Codecs that are not known here have one frame in every packet.

    Args:
        codec: FFmpeg's name.
        extradata: The headers that the container holds.
        length_size: Bytes of the length before each unit of H.264 and HEVC; 0 means start codes.
    """
    counters: dict[str, FrameCounter] = {
        "h264": _H264Counter(extradata, length_size),
        "hevc": lambda data: _count_hevc(data, length_size),
        "mpeg1video": _count_mpeg12,
        "mpeg2video": _count_mpeg12,
        "mpeg4": _Mpeg4Counter(extradata),
        "vp8": _count_vp8,
        "vp9": lambda data: sum(map(_shows_vp9, _vp9_frames(data))),
        "av1": _count_av1,
    }
    counter = counters.get(codec, lambda _: 1)
    return lambda data: None if data == _PLACEHOLDER else counter(data)


def _count_mpeg12(data: Content) -> int | None:
    content = bytes(data)
    return 1 if _MPEG12_PICTURE in content or not content.startswith(_START_CODE) else None


def _count_hevc(data: Content, length_size: int) -> int | None:
    kinds = (header >> 1 & 63 for header in unit_headers(data, length_size))
    return None if next(kinds, -1) in _HEVC_EMPTY and _HEVC_EMPTY.issuperset(kinds) else 1


class _H264Counter:
    """Counts frames of H.264, which may be coded as two fields, in one packet or two."""

    def __init__(self, extradata: bytes, length_size: int) -> None:
        self._length_size = length_size
        self._number_bits = 0  # of frame_num; 0 while no header allows fields
        self._last: tuple[int, int] | None = None  # field
        self._first: tuple[int, int] | None = None  # field of a frame whose second is to come
        if length_size:  # a configuration record, in which one header follows its length
            self._read_header(extradata[8:])
        else:
            self(extradata)

    def __call__(self, data: Content) -> int | None:
        count, kinds = 0, set()
        for unit in units(data, self._length_size):
            kinds.add(unit[0] & 31)
            if unit[0] & 31 == _H264_HEADER:
                self._read_header(unit)
            elif unit[0] & 31 in _H264_SLICES:
                field = self._field_of(unit)
                if field is None:
                    self._first = self._last = None
                    return 1  # The rest of the packet are slices of the same frame.
                if field != self._last and self._first == (field[0], 1 - field[1]):
                    self._first = None
                elif field != self._last:
                    self._first, count = field, count + 1
                self._last = field
        if kinds & _H264_SLICES:
            return count
        return None if kinds and kinds <= _H264_EMPTY else 1

    def _read_header(self, unit: bytes) -> None:
        with contextlib.suppress(ValueError):
            header = parse_sequence_parameters(unit)
            self._number_bits = header.field_number_bits if header else 0

    def _field_of(self, unit: bytes) -> tuple[int, int] | None:
        with contextlib.suppress(ValueError):
            if self._number_bits:
                return field_of(unit.ljust(HEADER_BYTES, b"\0"), self._number_bits)
        return None


class _Mpeg4Counter:
    """Counts coded pictures of MPEG-4 part 2 (ISO/IEC 14496-2); fields are named as there."""

    def __init__(self, extradata: bytes) -> None:
        self._time_bits = 0  # not known yet
        self._read_layer(extradata)

    def __call__(self, data: Content) -> int | None:
        content = bytes(data)
        self._read_layer(content)
        pictures = content.split(_MPEG4_PICTURE)[1:]
        if not pictures and not content.startswith(_START_CODE):
            return 1
        return sum(map(self._is_coded, pictures)) or None

    def _read_layer(self, content: bytes) -> None:
        """Finds the length of vop_time_increment, in the video object layer (6.2.3)."""
        layer = None if self._time_bits else _MPEG4_LAYER.search(content)
        if layer is None:
            return
        bits = Bits(content[layer.end() : layer.end() + 64].ljust(64, b"\0"))
        bits.take(9)  # random_accessible_vol, video_object_type_indication
        if bits.take():  # is_object_layer_identifier
            bits.take(7)
        if bits.take(4) == _EXTENDED_ASPECT_RATIO:
            bits.take(16)
        if bits.take():  # vol_control_parameters
            bits.take(3)  # chroma_format, low_delay
            if bits.take():  # vbv_parameters
                bits.take(79)
        bits.take(3)  # video_object_layer_shape, marker_bit
        self._time_bits = max((bits.take(16) - 1).bit_length(), 1)

    def _is_coded(self, picture: bytes) -> bool:
        """vop_coded (6.2.5); of a picture that is not coded, the decoder outputs nothing."""
        if not self._time_bits or len(picture) > _LONGEST_UNCODED:
            return True
        try:
            bits = Bits(picture[:16])
            bits.take(2)  # vop_coding_type
            while bits.take():  # modulo_time_base
                pass
            bits.take(2 + self._time_bits)  # marker_bit, vop_time_increment, marker_bit
            return bool(bits.take())
        except ValueError:
            return False


def _count_vp8(data: Content) -> int:
    is_damaged = not data[0] & 1 and data[3:6] != b"\x9d\x01\x2a"  # a key frame's start code
    return is_damaged or data[0] >> 4 & 1  # show_frame


def _vp9_frames(data: Content) -> Iterator[Content]:
    """The frames of a superframe (VP9 bitstream specification, annex B), or the only one."""
    marker = data[-1]
    count, width = (marker & 7) + 1, (marker >> 3 & 3) + 1
    start = len(data) - 2 - count * width
    if marker >> 5 != 0b110 or start < 0 or data[start] != marker:
        yield data
        return
    position = 0
    for entry in range(start + 1, len(data) - 1, width):
        size = int.from_bytes(data[entry : entry + width], "little")
        if frame := data[position : position + size]:
            yield frame
        position += size


def _shows_vp9(frame: Content) -> bool:
    first = frame[0] << 1 if frame[0] & 0x30 == 0x30 else frame[0]  # profile 3 has one more bit
    is_damaged = frame[0] >> 6 != 0b10  # frame_marker
    return is_damaged or bool(first & 0x08 or first & 0x02)  # show_existing_frame, show_frame


def _count_av1(data: Content) -> int:
    """Reads open bitstream units (AV1 bitstream specification, 5.3 and 5.9.2)."""
    position, shown = 0, []
    while position < len(data):
        header = data[position]
        position += 2 if header & 4 else 1  # obu_extension_flag
        size, shift = len(data) - position, 0
        if header & 2:  # obu_has_size_field
            size = 0
            while position < len(data):
                byte = data[position]
                size |= (byte & 127) << shift
                position, shift = position + 1, shift + 7
                if byte < 128:
                    break
        if header >> 3 & 15 in _AV1_FRAMES and position < len(data):
            shown.append(data[position] & 0x90 > 0)  # show_existing_frame, show_frame
        position += size
    return any(shown) or not shown
