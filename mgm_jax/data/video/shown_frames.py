"""Whether a packet holds one displayed frame, told without decoding it.

Most do. Others hold none, such as placeholders of XviD and parameter sets. Where a packet may hold
another number (packed B-frames of DivX, frames that are only references), the frames of the file
have to be counted as they leave the decoder.
"""

import enum
import functools
from collections.abc import Callable, Iterable, Set

from mgm_jax.data.video.h264 import unit_headers

Content = bytes | memoryview


class Holds(enum.Enum):
    """What is in a packet. Decoders may refuse one with nothing, or need it."""

    FRAME = enum.auto()
    NOTHING = enum.auto()
    UNSURE = enum.auto()


_PLACEHOLDER = b"\x7f"  # XviD and x264 write it into an AVI while they have no frame yet.
_START_CODE = b"\0\0\1"
_MPEG4_PICTURE = _START_CODE + b"\xb6"
_MPEG12_PICTURE = _START_CODE + b"\0"
# Of MPEG-4, the decoder outputs nothing for a picture marked as not coded, of a few bytes.
_LONGEST_NOT_CODED = 12
# Units without picture data: parameter sets, delimiters, ends of sequences, fillers, SEI.
_H264_EMPTY = frozenset(range(6, 14))
_HEVC_EMPTY = frozenset(range(32, 41))
# Specified to hold one displayed frame of VP9 and AV1 in each packet.
_ONE_FRAME_EACH = ("matroska", "mp4")


def packet_reader(codec: str, container: str, length_size: int) -> Callable[[Content], Holds]:
    """A function that says what a packet holds; a damaged one counts as a frame.

    Packets of codecs that are not known here hold one frame.

    Args:
        codec: FFmpeg's name.
        container: FFmpeg's names of the format.
        length_size: Bytes of the length before each unit of H.264 and HEVC; 0 means start codes.
    """
    headers = functools.partial(unit_headers, length_size=length_size)
    one_each = any(name in container for name in _ONE_FRAME_EACH)
    of_web_codecs = Holds.FRAME if one_each else Holds.UNSURE
    readers: dict[str, Callable[[Content], Holds]] = {
        "h264": lambda data: _read_units((h & 31 for h in headers(data)), _H264_EMPTY),
        "hevc": lambda data: _read_units((h >> 1 & 63 for h in headers(data)), _HEVC_EMPTY),
        "mpeg1video": _read_mpeg12,
        "mpeg2video": _read_mpeg12,
        "mpeg4": _read_mpeg4,
        "vp8": _read_vp8,
        "vp9": lambda _: of_web_codecs,
        "av1": lambda _: of_web_codecs,
    }
    reader = readers.get(codec, lambda _: Holds.FRAME)
    return lambda data: Holds.NOTHING if data == _PLACEHOLDER else reader(data)


def _read_units(kinds: Iterable[int], empty: Set[int]) -> Holds:
    found = set(kinds)
    return Holds.NOTHING if found and found <= empty else Holds.FRAME


def _read_mpeg12(data: Content) -> Holds:
    content = bytes(data)
    has_none = _MPEG12_PICTURE not in content and content.startswith(_START_CODE)
    return Holds.NOTHING if has_none else Holds.FRAME


def _read_mpeg4(data: Content) -> Holds:
    content = bytes(data)
    pictures = content.split(_MPEG4_PICTURE)[1:]
    if not pictures:
        return Holds.NOTHING if content.startswith(_START_CODE) else Holds.FRAME
    is_one = len(pictures) == 1 and len(pictures[0]) > _LONGEST_NOT_CODED
    return Holds.FRAME if is_one else Holds.UNSURE


def _read_vp8(data: Content) -> Holds:
    return Holds.FRAME if data[0] >> 4 & 1 else Holds.UNSURE  # show_frame
