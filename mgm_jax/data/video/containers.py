"""Opening video files: their packets, and decoders for them."""

import io
import os
from collections.abc import Sequence
from typing import Any, Literal

import av
from av.stream import Disposition
from av.video.reformatter import ColorRange

from mgm_jax.data.video.announced_size import HEAD_BYTES, announced_size
from mgm_jax.data.video.mp4 import Mp4Tables, ReadAt, read_mp4_tables
from mgm_jax.data.video.packets import PacketIndex, index_packets, index_tables
from mgm_jax.errors import VideoError

_SINGLE_THREAD: tuple[Literal["NONE"], int] = ("NONE", 1)
"""Type and number. Workers decode side by side, so threads would only compete; and with several,
FFmpeg does not flag the frames in which it conceals damage."""

GET_AGAIN = "the file is damaged or incomplete: get it again, or leave it out"

VideoInput = str | os.PathLike | bytes
"""Path of a video file, or its bytes."""

# FFmpeg's demultiplexers of files that hold all of their video themselves. The others make a list
# of other files or of addresses in the network (playlists, SDP), or a film of any text or picture.
_FORMATS = (
    "mov,matroska,avi,asf,asf_o,flv,live_flv,kux,mpeg,mpegts,mpegvideo,m4v,h261,h263,h264,hevc,vvc,"
    "evc,av1,obu,ivf,vc1,vc1test,cavsvideo,dirac,dv,mxf,gxf,nut,nsv,nuv,ogg,rm,wtv,gif,apng,mjpeg,"
    "mjpeg_2000,yuv4mpegpipe,amv,avs,avs2,avs3,bink,smk,roq,flic,film_cpk,filmstrip,idcin,wc3movie,"
    "4xm,ea,vmd,thp,r3d,cine,dxa,psxstr,dhav,pva,ty,lxf,lmlm4,vivo,vividas,ipu,swf,xmv,pmp,usm,mtv"
)

# Of covers, if a file has other video too.
_CODECS_OF_PICTURES = frozenset({"mjpeg", "png", "gif", "bmp", "webp", "tiff"})

# 8K. Decoders hold up to 16 frames or more.
_MAX_PIXELS = 8192 * 4096

# Some downloads carry metadata that is not UTF-8, which PyAV 19 always accepts.
METADATA_ERRORS: dict[str, Any] = (
    {} if int(av.__version__.partition(".")[0]) >= 19 else {"metadata_errors": "ignore"}
)


def open_container(source: VideoInput, name: str) -> "DemuxedFile | Mp4File":
    """Opens a video file: by its tables if it is a plain mp4, otherwise by demultiplexing it.

    Raises:
        VideoError: Not a video, empty, or cut off; begins with `name`.
    """
    try:
        if not (len(source) if isinstance(source, bytes) else os.path.getsize(source)):
            raise VideoError(f"{name}: the file is empty; get it again, or leave it out")
    except FileNotFoundError as error:
        raise VideoError(f"{name}: the file does not exist; check the path") from error
    except OSError as error:
        raise _cannot_open(name, error) from error
    return _open_mp4(source, name) or DemuxedFile(source, name)


def check_complete(source: VideoInput, name: str) -> None:
    """Compares a file's size with its header, where that says it (AVI, Matroska, WebM).

    FFmpeg takes what has arrived of such a file for all of it.

    Raises:
        VideoError: Bytes are missing, or the file cannot be read.
    """
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
            announced = announced_size(file.read(HEAD_BYTES))
            size = file.seek(0, io.SEEK_END)
    except OSError as error:
        raise _cannot_open(name, error) from error
    if announced is not None and size < announced:
        raise VideoError(
            f"{name}: the file is cut off: it holds {size:,} of {announced:,} bytes; get it again, "
            "or leave it out"
        )


def _cannot_open(name: str, error: OSError | av.FFmpegError) -> VideoError:
    cause = error.strerror
    if isinstance(error, av.ArgumentError):
        cause = "its format is none that holds a whole video"
    return VideoError(f"{name}: it cannot be opened as a video ({cause}); {GET_AGAIN}")


def _check_pixels(width: int, height: int, name: str) -> None:
    if width * height > _MAX_PIXELS:
        raise VideoError(
            f"{name}: its frames of {width}x{height} pixels are larger than 8192x4096; scale them "
            "down with FFmpeg, or leave the file out"
        )


def open_demuxer(
    source: VideoInput, name: str
) -> tuple[av.container.InputContainer, av.VideoStream]:
    """Opens a file with FFmpeg, and chooses its largest video stream; never a cover picture.

    It is decoded in a single thread.

    FFmpeg opens nothing else, in the network or among the files, whatever the file asks for.

    Raises:
        VideoError: Not a video of a container format, or its frames are too large.
    """
    # As it is, a name with a colon would be a protocol.
    file = io.BytesIO(source) if isinstance(source, bytes) else "file:" + os.fspath(source)
    try:
        container = av.open(
            file,
            "r",
            options={"max_pixels": str(_MAX_PIXELS)},
            container_options={
                "format_whitelist": _FORMATS,
                "protocol_whitelist": "none" if isinstance(source, bytes) else "file",
            },
            **METADATA_ERRORS,
        )
    except (av.FFmpegError, OSError) as error:
        raise _cannot_open(name, error) from error
    streams = [
        stream
        for stream in container.streams.video
        if stream.codec_context and not stream.disposition & Disposition.attached_pic
    ]
    try:
        if not streams:
            raise VideoError(f"{name}: it has no video stream that FFmpeg can decode; leave it out")
        # FFmpeg's own choice is the one marked as default, which in most files is just the first.
        best = max(streams, key=_suitability)
        _check_pixels(best.width, best.height, name)
    except VideoError:
        container.close()
        raise
    best.thread_type, best.thread_count = _SINGLE_THREAD
    return container, best


def _suitability(stream: av.VideoStream) -> tuple[bool, int]:
    """Moving pictures before still ones, then the number of pixels."""
    is_still = stream.frames == 1 or stream.codec_context.name in _CODECS_OF_PICTURES
    return not is_still, stream.width * stream.height


class DemuxedFile:
    """A file of any format with all packets in memory.

    Its `size` is None: a frame has to be decoded to know the size and the orientation.
    """

    def __init__(self, source: VideoInput, name: str) -> None:
        self.size: tuple[int, int] | None = None
        self._source, self._name = source, name
        check_complete(source, name)
        self._container, stream = open_demuxer(source, name)
        self._decoder: av.VideoCodecContext | None = stream.codec_context
        self.codec: str = stream.codec_context.codec.canonical_name
        try:
            self.index = index_packets(self._container, stream, name)
        except VideoError:
            self.close()
            raise

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    def make_decoder(self, export_vectors: bool) -> av.VideoCodecContext:
        """A new single-threaded decoder; earlier ones must not be used any more.

        A decoder belongs to an open file, so the second one opens the file again.
        """
        decoder, self._decoder = self._decoder, None
        if decoder is None:
            self.close()
            self._container, stream = open_demuxer(self._source, self._name)
            decoder = stream.codec_context
        return _configure(decoder, export_vectors)


class Mp4Packets(Sequence[av.Packet]):
    """The packets of an mp4 file in decoding order, read on request."""

    def __init__(self, read_at: ReadAt, tables: Mp4Tables, name: str) -> None:
        self._read_at, self._name = read_at, name
        self._positions, self._sizes = tables.positions.tolist(), tables.sizes.tolist()
        self._times = tables.times.tolist()
        self._key_flags = tables.key_frames.tolist()
        self._last: tuple[int, av.Packet] | None = None

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, number: int) -> av.Packet:  # type: ignore[override]
        """The packet at a position; raises `VideoError` if the file has become shorter."""
        if self._last is None or self._last[0] != number:
            data = self._read_at(self._positions[number], self._sizes[number])
            if len(data) != self._sizes[number]:
                raise VideoError(
                    f"{self._name}: the file was cut off in frame {number} while it was being "
                    "read; get it again, or leave it out"
                )
            packet = av.Packet(data)
            packet.pts = self._times[number]
            packet.is_keyframe = self._key_flags[number]
            self._last = number, packet
        return self._last[1]


class Mp4File:
    """A plain mp4 file of which only the requested packets are read.

    Its `size` is the (height, width) of the frames in luma pixels; they are stored upright.
    """

    codec = "h264"

    def __init__(self, file: io.BytesIO | io.FileIO, tables: Mp4Tables, index: PacketIndex) -> None:
        self._file, self._tables = file, tables
        self.index = index
        self.size: tuple[int, int] | None = (tables.header.height, tables.header.width)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def make_decoder(self, export_vectors: bool) -> av.VideoCodecContext:
        """A new single-threaded decoder."""
        decoder = av.CodecContext.create("h264", "r")
        decoder.extradata = self._tables.configuration
        # What the stream itself states takes precedence in the decoder.
        if self._tables.colour_space is not None:
            decoder.colorspace = self._tables.colour_space
        if self._tables.full_range is not None:
            decoder.color_range = ColorRange.JPEG if self._tables.full_range else ColorRange.MPEG
        return _configure(decoder, export_vectors)


def _open_mp4(source: VideoInput, name: str) -> Mp4File | None:
    """The file by its tables; None if it has to be demultiplexed, or cannot be opened."""
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else io.FileIO(source)
    except OSError:
        return None

    def read_at(position: int, size: int) -> bytes:
        file.seek(position)
        return file.read(size)

    opened = None
    try:
        file_size = file.seek(0, io.SEEK_END)
        tables = read_mp4_tables(read_at, file_size, name)
        if tables is not None:
            _check_pixels(tables.header.width, tables.header.height, name)
            packets = Mp4Packets(read_at, tables, name)
            index = index_tables(tables, packets)
            opened = None if index is None else Mp4File(file, tables, index)
    except OSError as error:
        raise _cannot_open(name, error) from error
    finally:
        if opened is None:
            file.close()
    return opened


def _configure(decoder: av.VideoCodecContext, export_vectors: bool) -> av.VideoCodecContext:
    decoder.thread_type, decoder.thread_count = _SINGLE_THREAD
    decoder.options = {"max_pixels": str(_MAX_PIXELS)}
    if export_vectors:
        decoder.options |= {"flags2": "+export_mvs"}
    return decoder
