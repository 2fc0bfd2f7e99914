"""Reads H.264 headers without decoding; fields are named as in ITU-T H.264."""

import contextlib
import dataclasses
import functools
import re
from collections.abc import Iterator

# Profiles whose header states the chroma format (7.3.2.1.1).
_WITH_CHROMA_FORMAT = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})
_CHROMA_420 = 1
_IDR_SLICE, _SUPPLEMENT, _SEQUENCE_PARAMETERS = 5, 6, 7  # nal_unit_type
_DISPLAY_ORIENTATION = re.compile(rb"\x2f[\x01-\x10]")  # payloadType (D.1.1), payloadSize
_EXTENDED_ASPECT_RATIO = 255

_HEADER_BYTES = 256  # More than the headers that are read here take.


@dataclasses.dataclass(frozen=True)
class VideoHeader:
    """What a sequence parameter set says of all frames; sizes are of decoded frames, luma pixels.

    Attributes:
        num_reorder_frames: How many frames may precede another one in decoding order, but follow
            it in presentation order; None if it is not stated.
        may_have_fields: Whether pictures may be fields, of which two make a frame.
    """

    height: int
    width: int
    num_reorder_frames: int | None
    may_have_fields: bool = False


class Bits:
    """Reads a bit string from its start; raises ValueError past its end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int = 1) -> int:
        """An unsigned number of `count` bits."""
        self._left -= count
        if self._left < 0:
            raise ValueError("the header ends early")
        return self._value >> self._left & ((1 << count) - 1)

    def exp_golomb(self) -> int:
        """An unsigned Exp-Golomb number."""
        zeros = 0
        while not self.take():
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)


@functools.lru_cache(maxsize=256)
def parse_sequence_parameters(unit: bytes) -> VideoHeader | None:
    """Reads a sequence parameter set (7.3.2.1.1, E.1.1): a unit without start code or length.

    Returns None for unusual streams, which are left to FFmpeg: chroma other than 4:2:0, custom
    quantisation matrices, and frames cropped at their top or left.

    Raises:
        ValueError: It ends early.
    """
    bits = Bits(unit[1:_HEADER_BYTES].replace(b"\0\0\3", b"\0\0"))
    profile_idc = bits.take(8)
    bits.take(16)  # constraint flags, level_idc
    bits.exp_golomb()  # seq_parameter_set_id
    if profile_idc in _WITH_CHROMA_FORMAT:
        if bits.exp_golomb() != _CHROMA_420:
            return None
        bits.exp_golomb(), bits.exp_golomb()  # bit_depth_luma_minus8, bit_depth_chroma_minus8
        bits.take()  # qpprime_y_zero_transform_bypass_flag
        if bits.take():  # seq_scaling_matrix_present_flag
            return None
    bits.exp_golomb()  # log2_max_frame_num_minus4
    order_type = bits.exp_golomb()  # pic_order_cnt_type
    if order_type == 0:
        bits.exp_golomb()  # log2_max_pic_order_cnt_lsb_minus4
    elif order_type == 1:
        return None
    bits.exp_golomb()  # max_num_ref_frames
    bits.take()  # gaps_in_frame_num_value_allowed_flag
    width, height = 16 * (bits.exp_golomb() + 1), 16 * (bits.exp_golomb() + 1)
    only_frames = bits.take()  # frame_mbs_only_flag
    if not only_frames:
        bits.take()  # mb_adaptive_frame_field_flag
    lines = 2 - only_frames
    bits.take()  # direct_8x8_inference_flag
    if bits.take():  # frame_cropping_flag
        left, right, top, bottom = (2 * bits.exp_golomb() for _ in range(4))
        if left or top:
            return None
        width, height = width - right, height - bottom
    # Order type 2 means that frames are presented in decoding order.
    stated = _stated_reordering(bits) if bits.take() else None
    reordering = 0 if order_type == 2 else stated
    return VideoHeader(lines * height, width, reordering, not only_frames)


def _stated_reordering(bits: Bits) -> int | None:
    """max_num_reorder_frames of the video usability information, if it is there."""
    if bits.take() and bits.take(8) == _EXTENDED_ASPECT_RATIO:
        bits.take(32)  # sar_width, sar_height
    if bits.take():  # overscan_info_present_flag
        bits.take()
    if bits.take():  # video_signal_type_present_flag
        bits.take(4)  # video_format, video_full_range_flag
        if bits.take():  # colour_description_present_flag
            bits.take(24)
    if bits.take():  # chroma_loc_info_present_flag
        bits.exp_golomb(), bits.exp_golomb()
    if bits.take():  # timing_info_present_flag
        bits.take(65)
    # Hypothetical decoder parameters, and what follows them, are not read.
    if bits.take() or bits.take():  # nal_ and vcl_hrd_parameters_present_flag
        return None
    bits.take()  # pic_struct_present_flag
    if not bits.take():  # bitstream_restriction_flag
        return None
    bits.take()  # motion_vectors_over_pic_boundaries_flag
    for _ in range(4):  # max_bytes_, max_bits_, log2_max_mv_length_horizontal, _vertical
        bits.exp_golomb()
    return bits.exp_golomb()


def is_unreferenced(data: bytes | memoryview, length_size: int) -> bool:
    """Whether no other frame is predicted from this one: its slices have no nal_ref_idc.

    False without slices. A length of `length_size` bytes precedes each unit; 0 means start codes.
    """
    slices = [header for header in unit_headers(data, length_size) if 1 <= header & 31 <= 5]
    return bool(slices) and not any(header & 0x60 for header in slices)


def is_instantaneous_refresh(data: bytes | memoryview, length_size: int) -> bool:
    """Whether a frame is an IDR picture: no later frame is predicted from an earlier one."""
    return any(header & 31 == _IDR_SLICE for header in unit_headers(data, length_size))


def overrides_container(
    data: bytes | memoryview, length_size: int, sequence_parameters: bytes
) -> bool:
    """Whether a packet may state a size or an orientation that the container does not.

    Also if its units do not fit into it, so that it is damaged. A length of `length_size` bytes
    precedes each unit.
    """
    position = 0
    while position + length_size < len(data):
        start = position + length_size
        position = start + int.from_bytes(data[position:start], "big")
        kind = data[start] & 31
        if kind == _SEQUENCE_PARAMETERS and bytes(data[start:position]) != sequence_parameters:
            return True
        if kind == _SUPPLEMENT and _DISPLAY_ORIENTATION.search(data[start:position]):
            return True
    return position > len(data)


def allows_fields(extradata: bytes, length_size: int) -> bool:
    """Whether the headers of a container allow fields, of which two make a frame.

    With a `length_size`, `extradata` is a configuration record.
    """
    sets = [extradata[8:]] if length_size else _units(extradata)
    for unit in sets:
        if unit and unit[0] & 31 == _SEQUENCE_PARAMETERS:
            with contextlib.suppress(ValueError):
                header = parse_sequence_parameters(unit)
                return header is not None and header.may_have_fields
    return False


def unit_headers(data: bytes | memoryview, length_size: int) -> Iterator[int]:
    """The first byte of each unit of a packet, of HEVC too; `length_size` as above."""
    content = memoryview(data)
    if length_size:
        position = 0
        while position + length_size < len(content):
            unit = position + length_size
            yield content[unit]
            position = unit + int.from_bytes(content[position:unit], "big")
    else:
        yield from (unit[0] for unit in _units(bytes(content)) if unit)


def _units(content: bytes) -> list[bytes]:
    """What follows each start code."""
    return content.split(b"\0\0\1")[1:]
