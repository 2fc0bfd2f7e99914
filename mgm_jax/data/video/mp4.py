"""Reads the tables of an mp4 file: where its frames are stored and when they are presented.

Then only the frames of a clip are read, however long the video is. Only the usual layout is
supported (ISO/IEC 14496-12): one H.264 track in one piece, upright, whose edit list hides nothing.
Any other file, damaged ones included, has to be demultiplexed, which gives the same frames.
"""

import contextlib
import dataclasses
import itertools
import re
import struct
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Bool, Int

from mgm_jax.data.video.h264 import VideoHeader, parse_sequence_parameters
from mgm_jax.errors import VideoError

ReadAt = Callable[[int, int], bytes]
"""(position, size) to the bytes of the file there; fewer only at the file's end."""

_IDENTITY = np.array([65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30])
_RATE_ONE = 65536
# Boxes and sample groups that change which frames are key frames, or hide something.
_UNUSUAL_TABLES = frozenset({b"stps", b"stz2", b"senc", b"saiz", b"saio"})
_UNUSUAL_GROUPS = frozenset({b"rap ", b"sync"})
_USUAL_SAMPLE_BOXES = frozenset({b"avcC", b"btrt", b"colr", b"pasp"})
_VISUAL_ENTRY_BYTES = 78
# Frames of a second hour and later have at least 64 bytes each, on average.
_FRAMES_OF_ANY_FILE, _BYTES_PER_FRAME = 2**17, 64
_FRAME_COUNT = re.compile(rb"stsz.{8}(.{4})|stz2.{8}(.{4})|trun.{4}(.{4})", re.DOTALL)


class _UnusualError(Exception):
    """Not the usual layout."""


@dataclasses.dataclass(frozen=True)
class Mp4Tables:
    """The video track of an mp4; arrays are in decoding order.

    Attributes:
        positions: First byte of each frame in the file.
        sizes: Bytes of each frame.
        times: Presentation times, in units of the track's time scale.
        key_frames: Which frames are flagged as key frames.
        configuration: The decoder's configuration record (avcC).
        sequence_parameters: The only sequence parameter set in it.
        header: What it says.
        colour_space: Number of the colour matrix that the container states (ITU-T H.273).
        full_range: Whether the container states the full range.
    """

    positions: Int[np.ndarray, " n"]
    sizes: Int[np.ndarray, " n"]
    times: Int[np.ndarray, " n"]
    key_frames: Bool[np.ndarray, " n"]
    configuration: bytes
    sequence_parameters: bytes
    header: VideoHeader
    colour_space: int | None
    full_range: bool | None


def read_mp4_tables(read_at: ReadAt, file_size: int, name: str) -> Mp4Tables | None:
    """The tables of a file; None unless it is a complete mp4 of the usual layout.

    Raises:
        VideoError: See `check_announced`.
    """
    movie = _find_movie(read_at, file_size, name)
    try:
        return None if movie is None else _read_movie(movie, file_size)
    except (_UnusualError, ValueError, IndexError, struct.error):
        return None


def _require(condition: bool | np.bool) -> None:
    if not condition:
        raise _UnusualError


def _find_movie(read_at: ReadAt, file_size: int, name: str) -> memoryview | None:
    """The content of the box `moov`; None if the file has none, or does not begin like an mp4.

    Checks the most frames that a table of the file announces, damaged or not: FFmpeg makes room for
    all of them, even if the table is not there.
    """
    movie, most = None, 0
    with contextlib.suppress(_UnusualError, struct.error):
        for kind, start, end in _top_boxes(read_at, file_size):
            if kind in (b"moov", b"moof"):
                content = read_at(start, min(end, file_size) - start)
                for count in itertools.chain.from_iterable(_FRAME_COUNT.findall(content)):
                    most = max(most, int.from_bytes(count, "big"))
                if kind == b"moov" and movie is None and len(content) == end - start:
                    movie = memoryview(content)
    check_announced(most, file_size, name)
    return movie if read_at(4, 4) == b"ftyp" else None


def _top_boxes(read_at: ReadAt, file_size: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of the content of each box that is in no other; may end past the file."""
    position = 0
    while position < file_size:
        size, kind, large_size = struct.unpack(">I4sQ", read_at(position, 16))
        header = 8
        if size == 1:
            size, header = large_size, 16
        _require(header <= size)
        yield kind, position + header, position + size
        position += size


def check_announced(num_frames: int, file_size: int, name: str) -> None:
    """Refuses a file of more frames than its size should take memory for.

    Raises:
        VideoError: There are too many.
    """
    most = _FRAMES_OF_ANY_FILE + file_size // _BYTES_PER_FRAME
    if num_frames > most:
        raise VideoError(
            f"{name}: {num_frames} frames are announced, but from a file of {file_size} bytes at "
            f"most {most} are read; it is damaged, or has to be cut into parts"
        )


def _children(box: memoryview) -> dict[bytes, list[memoryview]]:
    """Contents of the boxes inside a box, by type."""
    found: dict[bytes, list[memoryview]] = {}
    position = 0
    while position + 8 <= len(box):
        size, kind = struct.unpack_from(">I4s", box, position)
        _require(8 <= size <= len(box) - position)
        found.setdefault(kind, []).append(box[position + 8 : position + size])
        position += size
    return found


def _only(boxes: dict[bytes, list[memoryview]], kind: bytes) -> memoryview:
    found = boxes.get(kind, [])
    _require(len(found) == 1)
    return found[0]


def _read_movie(movie: memoryview, file_size: int) -> Mp4Tables:
    boxes = _children(movie)
    _require(b"mvex" not in boxes)
    header = _only(boxes, b"mvhd")
    _require(_is_upright(header, 48 if _is_long(header) else 36))
    (movie_scale,) = struct.unpack_from(">I", header, 20 if _is_long(header) else 12)
    tracks = [_children(track) for track in boxes.get(b"trak", ())]
    media_of = [_children(_only(track, b"mdia")) for track in tracks]
    pairs = zip(tracks, media_of, strict=True)
    videos = [pair for pair in pairs if _only(pair[1], b"hdlr")[8:12] == b"vide"]
    _require(len(videos) == 1)
    ((track, media),) = videos
    header = _only(track, b"tkhd")
    _require(_is_upright(header, 52 if _is_long(header) else 40))
    information = _children(_only(media, b"minf"))
    reference = _only(_children(_only(information, b"dinf")), b"dref")
    # One entry, flagged to say that the frames are in this file.
    count, size, _, flags = struct.unpack_from(">II4sI", reference, 4)
    _require(count == 1 and size == len(reference) - 8 and flags == 1)
    header = _only(media, b"mdhd")
    (scale,) = struct.unpack_from(">I", header, 20 if _is_long(header) else 12)
    tables = _children(_only(information, b"stbl"))
    _require(scale > 0 and movie_scale > 0 and not _UNUSUAL_TABLES & tables.keys())
    groups = {bytes(box[4:8]) for kind in (b"sgpd", b"sbgp") for box in tables.get(kind, ())}
    _require(not _UNUSUAL_GROUPS & groups)

    sizes = _sizes(_only(tables, b"stsz"))
    positions = _positions(tables, sizes)
    _require((sizes > 0).all() and (positions >= 0).all())
    _require((positions <= file_size - sizes).all() and sizes.sum() <= file_size)
    durations = _runs(_only(tables, b"stts"), len(sizes), ">u4")
    total = int(durations.sum())
    _require(0 < total < 2**40)
    decoding_times = np.cumsum(durations) - durations
    times = decoding_times
    if b"ctts" in tables:
        times = decoding_times + _runs(_only(tables, b"ctts"), len(sizes), ">i4")
    if b"edts" in track:
        edits = _children(_only(track, b"edts"))
        _require_hides_nothing(_only(edits, b"elst"), times, scale, movie_scale)
    key_frames = np.ones(len(sizes), bool)
    if b"stss" in tables:
        numbers = _table(_only(tables, b"stss"), ">u4", 1)[:, 0]  # from 1
        _require((np.diff(numbers, prepend=0) > 0).all())
        key_frames[:] = False
        key_frames[numbers - 1] = True
    described = _sample_description(_only(tables, b"stsd"))
    return Mp4Tables(positions, sizes, times, key_frames, *described)


def _is_long(box: memoryview) -> bool:
    """Whether times have 64 bits, by the box's version."""
    _require(box[0] in (0, 1))
    return box[0] == 1


def _is_upright(header: memoryview, offset: int) -> bool:
    return bool((np.frombuffer(header, ">i4", 9, offset) == _IDENTITY).all())


def _table(box: memoryview, kind: str, columns: int) -> Int[np.ndarray, "n columns"]:
    """A table that begins with its length."""
    (count,) = struct.unpack_from(">I", box, 4)
    _require(len(box) >= 8 + 4 * columns * count)
    rows = np.frombuffer(box, kind, columns * count, 8)
    return rows.astype(np.int64).reshape(count, columns)


def _sizes(box: memoryview) -> Int[np.ndarray, " n"]:
    same_size, count = struct.unpack_from(">II", box, 4)
    _require(not same_size and count > 0)
    return np.frombuffer(box, ">u4", count, 12).astype(np.int64)


def _runs(box: memoryview, total: int, kind: str) -> Int[np.ndarray, " total"]:
    """A run-length encoded column: pairs of (count, value)."""
    values = _table(box, kind, 2)
    repeats = values[:, 0]
    _require((repeats >= 0).all() and repeats.sum() == total)
    return np.repeat(values[:, 1], repeats)


def _positions(
    tables: dict[bytes, list[memoryview]], sizes: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Positions of the frames, which are contiguous within chunks, from the chunks' positions."""
    if b"stco" in tables:
        chunks = _table(_only(tables, b"stco"), ">u4", 1)[:, 0]
    else:
        box = _only(tables, b"co64")
        (count,) = struct.unpack_from(">I", box, 4)
        chunks = np.frombuffer(box, ">i8", count, 8).astype(np.int64)
    first, frames, description = _table(_only(tables, b"stsc"), ">u4", 3).T
    lengths = np.diff(first, append=len(chunks) + 1)
    _require(first[0] == 1 and (lengths > 0).all() and (description == 1).all())
    frames = np.repeat(frames, lengths)
    _require((frames > 0).all() and frames.sum() == len(sizes))
    before = np.cumsum(sizes) - sizes
    starts = np.cumsum(frames) - frames
    return before + np.repeat(chunks - before[starts], frames)


def _require_hides_nothing(
    box: memoryview, times: Int[np.ndarray, " n"], scale: int, movie_scale: int
) -> None:
    layout = ">QqI" if _is_long(box) else ">IiI"
    (count,) = struct.unpack_from(">I", box, 4)
    duration, start, rate = struct.unpack_from(layout, box, 8)
    _require(count == 1 and rate == _RATE_ONE and start == times.min())
    _require(times.max() - start < duration * scale // movie_scale)


def _sample_description(
    box: memoryview,
) -> tuple[bytes, bytes, VideoHeader, int | None, bool | None]:
    _require(struct.unpack_from(">I", box, 4) == (1,))  # the same for all frames
    entry = _only(_children(box[8:]), b"avc1")
    height, width = struct.unpack_from(">HH", entry, 24)[::-1]
    boxes = _children(entry[_VISUAL_ENTRY_BYTES:])
    _require(boxes.keys() <= _USUAL_SAMPLE_BOXES)
    configuration = bytes(_only(boxes, b"avcC"))
    version, sets, length = struct.unpack_from(">B4xBH", configuration)
    _require(version == 1 and sets & 31 == 1)
    sequence_parameters = configuration[8 : 8 + length]
    header = parse_sequence_parameters(sequence_parameters)
    if header is None or (header.height, header.width) != (height, width):
        raise _UnusualError
    _require(not header.may_have_fields)
    colour_space = full_range = None
    if b"colr" in boxes:
        colour = _only(boxes, b"colr")
        kind, colour_space = struct.unpack_from(">4s4xH", colour)
        _require(kind in (b"nclx", b"nclc"))
        if kind == b"nclx":
            full_range = colour[10] >= 128
    return configuration, sequence_parameters, header, colour_space, full_range
